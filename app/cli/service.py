"""`up`, `worker`, `prepare`, `openapi`: the service as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from binnacle import BinnacleError
from binnacle.cli.output import out, print_json, print_warnings


def up(  # one parameter for each option of the command
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8000,
    home: Annotated[Path | None, typer.Option(help="Data folder; BINNACLE_HOME or ~/.binnacle when left out.")] = None,
    device: Annotated[str, typer.Option(help="auto: every GPU, or the CPU if there is none; cpu: only the CPU.")] = "auto",
    cpu_workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Number of model workers that share the CPU: one when left out; several suit small models."
        ),
    ] = None,
    api_processes: Annotated[
        int, typer.Option(min=1, max=4, help="Number of processes that answer requests; one keeps one core busy at most.")
    ] = 1,
    serve_workers: Annotated[
        str | None,
        typer.Option(help="Address of this machine, in a private network, at which workers on other hosts reach its servers."),
    ] = None,
    database_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Postgres's port there; 5432 when left out.")
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The broker's port there; 6379 when left out.")
    ] = None,
) -> None:
    """Run the service until Ctrl-C: Postgres, broker, API and workers."""
    from app.cli.up import up as run

    raise typer.Exit(
        run(
            home, host=host, port=port, device=_known(device), cpu_workers=cpu_workers, api_processes=api_processes,
            serve_workers=serve_workers, database_port=database_port, broker_port=broker_port,
        )
    )  # fmt: skip


def worker(
    home: Annotated[Path | None, typer.Option(help="Data folder; BINNACLE_HOME or ~/.binnacle when left out.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The name of this host's workers, unlike other hosts'; the machine's name when left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto: every GPU, or the CPU if there is none; cpu: only the CPU.")] = "auto",
    cpu_workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Number of model workers that share the CPU: one when left out; several suit small models."
        ),
    ] = None,
    light: Annotated[bool, typer.Option(help="Also start a worker for jobs that need no model.")] = True,
) -> None:
    """Run this host's workers until Ctrl-C, for a service on another host, named by DATABASE_URL, BROKER_URL and STORAGE_URL."""
    from app.cli.up import worker as run
    from app.embedded.worker_host import WorkerOptions
    from app.settings import get_settings

    raise typer.Exit(run(WorkerOptions(home or get_settings().home, name, _known(device), cpu_workers, light)))


def _known(device: str) -> str:
    if device not in {"auto", "cpu"}:
        raise typer.BadParameter("choose auto or cpu", param_hint="--device")
    return device


def prepare(
    url: Annotated[
        str | None,
        typer.Option(help="The address at which the service will answer; the command line reads it from the data folder."),
    ] = None,
) -> None:
    """Migrate the database of DATABASE_URL and make the first key. Safe to run at every start, also by several processes at once."""
    from app import settings_file
    from app.embedded.database import prepare_database
    from app.embedded.home import NO_KEY
    from app.embedded.private import write_private
    from app.settings import Settings, get_settings
    from app.storage.checking import check_bucket

    settings = get_settings()
    print_warnings({"warnings": settings_file.misspelt(Settings)})
    if not (pepper := settings.key_pepper.get_secret_value()):
        raise BinnacleError("no_pepper", "Set BINNACLE_KEY_PEPPER to a long random text: openssl rand -hex 32")
    home = settings.home.expanduser()
    key_file = home / "admin.key" if settings.auth == "on" else None
    check_bucket(settings.storage_url.get_secret_value())
    valid = prepare_database(settings.database_url.get_secret_value(), key_file=key_file, pepper=pepper)
    if url is not None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(home / "url", url + "\n")
    key = f"the administrator's key is in {key_file}" if valid else NO_KEY if key_file else "it has no key, as keys are off"
    out.print(f"the database is ready; {key}")


def openapi() -> None:
    """Print the API's OpenAPI document; needs no running service."""
    from app.main import create_app

    print_json(create_app().openapi())
