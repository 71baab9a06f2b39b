"""`binnacle up` and `binnacle worker`: run the service, or one more host of it, in the foreground, and print how to use it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app import settings_file
from app.embedded.broker import answers
from app.embedded.devices import cuda_devices
from app.embedded.errors import EmbeddedError
from app.embedded.home import NO_KEY, Running
from app.embedded.sharing import Sharing
from app.embedded.supervisor import Options, Supervisor
from app.embedded.worker_host import WorkerHost, WorkerOptions
from app.settings import Settings, get_settings
from app.storage.checking import check_bucket
from binnacle.address import naming
from binnacle.cli.output import err, out, print_error, print_warnings
from binnacle.cli.terminal import styled


def up(  # a parameter for each option of the command
    home: Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    cpu_workers: int | None = None,
    api_processes: int = 1,
    serve_workers: str | None = None,
    database_port: int | None = None,
    broker_port: int | None = None,
) -> int:
    """Runs the service until Ctrl-C or SIGTERM; returns the exit status: 0 stopped, 1 could not start, 3 runs already.

    home: the data folder (None: BINNACLE_HOME, else ~/.binnacle). device: "auto" for every GPU, else the CPU; "cpu" for the CPU alone.
    cpu_workers: model workers where there is no GPU (None: one). api_processes: processes that answer requests.
    serve_workers: the address at which workers on other hosts reach the servers; the ports (None: 5432, 6379) are those there.
    An option that would have no effect beside the others is refused.
    Must be called from the main thread, which the children's lives are bound to.
    """

    def run() -> None:
        settings_file.apply(Settings, home)
        settings = get_settings()  # a wrong setting is named here, before anything starts
        print_warnings({"warnings": settings_file.misspelt(Settings)})
        if url := os.environ.get("STORAGE_URL"):
            check_bucket(url)
        check_cpu_workers(device, cpu_workers)
        sharing = sharing_of(serve_workers, database_port, broker_port)
        Supervisor(
            Options(home or settings.home, host, port, device, cpu_workers, sharing, api_processes, settings.metrics_port),
            say=out.print,
            on_ready=lambda service, running: _announce(service, running, host),
        ).run()

    return _until_stopped(run)


def worker(options: WorkerOptions) -> int:
    """Runs this host's workers until Ctrl-C or SIGTERM; returns the exit status as `up` does. From the main thread only."""

    def run() -> None:
        settings_file.apply(Settings, options.home)
        print_warnings({"warnings": settings_file.misspelt(Settings)})
        check_cpu_workers(options.device, options.cpu_workers)
        WorkerHost(options, say=out.print, on_start=_announce_workers).run()

    return _until_stopped(run)


def sharing_of(
    address: str | None, database_port: int | None, broker_port: int | None, environment: Mapping[str, str] = os.environ
) -> Sharing | None:
    """Returns where workers on other hosts reach the servers; None without an address. Raises EmbeddedError for a port without effect."""
    for option, port, url in (("--database-port", database_port, "DATABASE_URL"), ("--broker-port", broker_port, "BROKER_URL")):
        if port is not None and address is None:
            raise EmbeddedError(
                "option_without_effect",
                f"{option} has no effect without --serve-workers ADDRESS, which opens the servers to other hosts: "
                f"add it, or leave {option} out.",
            )
        if port is not None and environment.get(url):
            raise EmbeddedError(
                "option_without_effect",
                f"{option} has no effect where {url} names a server that is started elsewhere: leave {option} out, or unset {url}.",
            )
    return None if address is None else Sharing(address, database_port or 5432, broker_port or 6379)


def check_cpu_workers(device: str, cpu_workers: int | None, environment: Mapping[str, str] = os.environ) -> None:
    """Raises EmbeddedError for a number of CPU workers where each GPU gets a worker and the CPU none."""
    if cpu_workers is not None and device == "auto" and cuda_devices(environment):
        raise EmbeddedError(
            "option_without_effect",
            "--cpu-workers has no effect on a machine with a GPU, where each GPU gets one worker: add --device cpu to run on the CPU, "
            "or leave --cpu-workers out.",
        )


def _until_stopped(run: Callable[[], None]) -> int:
    """Runs until stopped; prints an EmbeddedError. Returns the exit status."""
    try:
        run()
    except EmbeddedError as reason:
        print_error(reason, as_json=False)
        return reason.exit_status
    out.print("stopped")
    return 0


def _announce(service: Supervisor, running: Running, host: str) -> None:
    """Prints the service's addresses, key, workers and folders, and warns if the broker does not answer."""
    home = service.home
    named = naming(home.folder)
    rows = {
        "API": f"{running.url}  (every route: {running.url}/openapi.json)"
        + ("" if host == urlsplit(running.url).hostname else f", listening on {host}"),
        **(
            {
                "secret": f"{service.secret}  (keys are off: send this secret as a key; everyone who has it administers this service)"
            }
            if service.secret
            else {"key": f"{home.key_file}  (the command line reads it)" if service.has_key else NO_KEY}
        ),
        "workers": ", ".join(plan.description for plan in service.workers),
        "data": str(home.folder),
        **({"shell": f"export {named} (run it in each terminal from which commands are to find this service)"} if named else {}),
        "logs": str(home.logs),
    }
    if service.options.sharing:
        rows["hosts"] = f"{home.worker_file}  (for `binnacle worker` elsewhere; it holds passwords)"
        if running.storage_url.startswith("file:"):
            rows["objects"] = (
                f"{running.storage_url}  (workers elsewhere need STORAGE_URL=s3://..., or this folder at the same path)"
            )
    _rows(rows)
    _warn_of_broker(running.broker_url)
    out.print(styled("Binnacle is ready.", "bold green"), "Ctrl-C stops it.")


def _warn_of_broker(url: str) -> None:
    """Warns when the broker does not answer: the API serves without it, but workers cannot start."""
    if not answers(url):
        reason = "The broker of BROKER_URL does not answer. No job starts before it does; `binnacle doctor` says more."
        err.print(styled("warning: ", "bold yellow"), reason, sep="")


def _announce_workers(nodes: WorkerHost) -> None:
    """Prints this host's workers and the folder of their logs."""
    _rows({"workers": ", ".join(plan.description for plan in nodes.workers), "logs": str(nodes.home.logs)})
    out.print(
        styled("The workers are running.", "bold green"),
        "`binnacle status` shows them once they have reported. Ctrl-C stops them.",
    )


def _rows(rows: dict[str, str]) -> None:
    """Prints names and values in two columns."""
    for name, value in rows.items():
        out.print(f"{name:<8} {value}")  # no table, which would cut long paths
