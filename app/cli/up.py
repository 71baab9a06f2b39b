"""`binnacle up`: the service in the foreground, with what a person needs to use it."""

from pathlib import Path

from rich.console import Console

from app.embedded.errors import EmbeddedError
from app.embedded.home import Running
from app.embedded.supervisor import Options, Supervisor
from app.settings import get_settings


def up(
    home: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    cpu_workers: int = 1,
    console: Console | None = None,
) -> int:
    """Runs the service until Ctrl-C or SIGTERM; returns the exit status: 0 stopped, 1 could not start, 3 runs already.

    home: the data folder (None: BINNACLE_HOME, else ~/.binnacle). device: "auto" for every GPU, else the CPU; "cpu" for the CPU alone.
    cpu_workers: model workers where there is no GPU.
    Must be called from the main thread, which the children's lives are bound to.
    """
    console = console or Console()
    try:
        supervisor = Supervisor(
            Options(home or get_settings().home, host, port, device, cpu_workers),
            say=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
            on_ready=lambda service, running: _announce(console, service, running, host),
        )
        supervisor.run()
    except EmbeddedError as reason:
        console.print(f"[bold red]{reason.code}[/]", soft_wrap=True)
        console.print(reason.detail, markup=False, highlight=False, soft_wrap=True)
        return reason.exit_status
    console.print("stopped")
    return 0


def _announce(console: Console, service: Supervisor, running: Running, host: str) -> None:
    home = service.home
    rows = {
        "API": f"{running.url}  (every route: {running.url}/openapi.json)"
        + ("" if host in running.url else f", listening on {host}"),
        "key": f"{home.key_file}  (the command line reads it)",
        "workers": ", ".join(plan.description for plan in service.workers),
        "data": str(home.folder),
        "logs": str(home.logs),
    }
    for name, value in rows.items():
        console.print(f"{name:<8} {value}", markup=False, highlight=False, soft_wrap=True)  # paths stay whole, to be copied
    console.print("[bold green]Binnacle is ready.[/] Ctrl-C stops it.")
