"""`binnacle demo`: starts the whole service, runs a study over HTTP like any client, prints its tables, stops everything."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from binnacle import BinnacleError, Client, ServiceError
from binnacle.address import home_folder, local_key, naming
from binnacle.board import Model
from binnacle.cli.live import Watcher
from binnacle.cli.output import err, out
from binnacle.cli.show import calibration_report
from binnacle.cli.speech import spoken
from binnacle.cli.tables import study_report
from binnacle.results import Job
from binnacle.shipped import shipped_study
from terms.values import JsonField

START_SECONDS = 180.0
CPU_WORKERS = 2
"""The shipped models keep a core busy each; more workers than this gain little, and a laptop stays usable."""


def demo(
    home: Annotated[
        Path | None,
        typer.Option(help="Data folder, shared with `binnacle up`; BINNACLE_HOME or ~/.binnacle when left out."),
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Use a new data folder, which is removed afterwards.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="A shipped model to study; may be repeated. All four when left out.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Full evidence: refits, ablation, off-target matrix; takes an hour or more.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the service running afterwards, until Ctrl-C, to see its pages.")
    ] = False,
    out_dir: Annotated[Path, typer.Option("--out", help="The folder for the report and the calibrations.")] = Path("demo"),
) -> None:
    """Start everything, study the shipped models over HTTP, print what was found, stop."""
    started = time.monotonic()
    asked = shipped_study("demo").request | ({"models": model} if model else {}) | {"evidence": "full" if full else "quick"}
    folders = {name: shipped_folder(name) for name in asked["models"]}
    if clean and home:
        raise BinnacleError("bad_option", "--clean uses a new data folder: leave --home out.")
    with ExitStack() as kept:
        data = Path(kept.enter_context(TemporaryDirectory(prefix="binnacle-demo-"))) if clean else home or home_folder()
        ours = address_of_running(data.absolute()) is None
        binnacle, job = f"{naming(data)}binnacle", None
        try:
            with running_service(data.absolute()) as client:
                err.print(f"service ready at {client.url} after {time.monotonic() - started:.0f} s")
                for name, folder in folders.items():
                    register(client, name, folder)
                for name in folders:
                    ready(client.await_model(name))
                err.print(f"models inspected and proved after {time.monotonic() - started:.0f} s")
                job = begun(client, asked)
                results(client, job, asked["models"][0], out_dir)
                pages = f"`{binnacle} up` and, beside it, `{binnacle} open`" if ours else f"`{binnacle} open`"
                again = "" if clean or keep else f"; the jobs stay: see them with {pages}"
                err.print(f"{time.monotonic() - started:.0f} s in all{again}")
                if keep:
                    show(client, job, binnacle, ours=ours)
        except KeyboardInterrupt:
            err.print(interrupted(data, job, binnacle, ours=ours, kept=not clean))
            raise


def interrupted(home: Path, job: str | None, binnacle: str, *, ours: bool, kept: bool) -> str:
    """Returns what became of the jobs after Ctrl-C, and what to do.

    job: the study's, once it was submitted. binnacle: how a command in another terminal begins. kept: whether the data folder stays.
    """
    watch = f"{binnacle} watch {job}" if job else f"{binnacle} jobs"
    if not ours:
        stop = f" Stop the study: {binnacle} cancel {job}" if job else ""
        return f"The service was running before and still runs; the jobs continue. Watch them: {watch}.{stop}"
    stopped = "The service of this run is stopped, and its jobs with it."
    if not kept:
        return f"{stopped} Its data folder is removed, so the next run starts from the beginning."
    return (
        f"{stopped} What they finished is kept in {home.absolute()}: run the same command again to continue. `{binnacle} up` lets the jobs "
        f"continue, too; watch them from another terminal with `{watch}`."
    )


def show(client: Client, job: str, binnacle: str, *, ours: bool) -> None:
    """Says where the study's page is. A service that was started for the demo (`ours`) is kept up until Ctrl-C."""
    out.print(f"the study's page: {client.sign_in_address(job)}")
    once = f"The address works once, within 60 seconds; `{binnacle} open` makes another."
    if not ours:
        err.print(f"{once} The service was running before and still runs.")
        return
    err.print(f"{once} The service stays up until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        signal.pause()


def begun(client: Client, asked: JsonField) -> str:
    """Submits the study and returns its job.

    Reuses finished jobs of the same calculation, so that a second demo takes only seconds. If an earlier demo was interrupted and its study
    has not ended, returns the job of that study.
    """
    earlier = (job for job in unfinished(client, "report", "demo") if asked.items() <= job["spec"]["study"].items())
    if job := next(earlier, None):
        err.print(f"the study of an earlier demo continues: {job['id']}")
    else:
        job = client.submit("study", reuse=True, name="demo", **asked)
        err.print(f"study submitted: {job['id']}")
    return job["id"]


def results(client: Client, study: str, first: str, folder: Path) -> None:
    """Waits for the study, prints the calibration of the model `first` and the tables, keeps the files in `folder`."""
    with Watcher(lasting=False) as watcher:
        job = client.wait(study, on_change=watcher)
    calibrations(client, study, first, folder)
    out.print()
    out.print(study_report(client.tables(study)))
    report = next(file for file in job["artifacts"] if file["name"] == "report.html")
    path = client.download(report, folder / "report.html", overwrite=True)
    out.print()
    out.print(f"report.html, with plots ({report['size']:,} bytes): {path}")


def calibrations(client: Client, study: str, first: str, folder: Path) -> None:
    """Keeps the calibrations of a study in `folder`, prints that of the model `first`, and says which models could not be calibrated."""
    for node in client.nodes(study).values():
        if node["kind"] != "calibrate" or node["job"] is None:
            continue
        if node["state"] != "succeeded":
            reason = spoken((node["error"] or {}).get("detail") or f"the job was {node['state']}")
            out.print(f"{node['model']} is not calibrated: {reason} [{node['job']}]")
            continue
        [artifact] = [file for file in client.job(node["job"])["artifacts"] if file["name"] == "calibration.json"]
        path = client.download(artifact, folder / node["model"] / "calibration.json", overwrite=True)
        if node["model"] == first:
            out.print(calibration_report(client.calibration(node["job"])))
        out.print(f"calibration.json of {node['model']}: {path}")


def unfinished(client: Client, kind: str, name: str) -> Iterator[Job]:
    """Yields the jobs of this kind and name that have not ended: those of an earlier run that was interrupted."""
    for state in ("queued", "running"):
        yield from (job for job in client.jobs(kind=kind, state=state) if job["name"] == name)


def ready(model: Model) -> None:
    """Raises BinnacleError with the fault that the inspection found unless the model is ready."""
    if model["state"] != "ready":
        fault = model["fault"] or {}
        reason = spoken(fault.get("detail") or f"{model['name']} is {model['state']}")
        raise BinnacleError(fault.get("code", "model_not_ready"), reason)


def answers(url: str, home: Path) -> bool:
    """Returns whether a service answers at this address, which can come from a file left over from a machine that went down."""
    try:
        with Client(url, local_key(home), first_answer=2) as client:
            client.status()
    except BinnacleError:
        return False
    return True


def address_of_running(home: Path) -> str | None:
    """Returns the address of the service that runs from `home`; None where none answers."""
    from app.embedded.home import Home

    there = Home(home).running()
    return there.url if there is not None and answers(there.url, home) else None


def running_service(home: Path) -> AbstractContextManager[Client]:
    """Returns a client of the service in `home`. Where none runs, one is started for the purpose and stopped afterwards."""
    url = address_of_running(home)
    if url is None:
        return started_service(home)
    err.print(f"using the service that runs from {home}")
    return Client(url, local_key(home))


@contextmanager
def started_service(home: Path) -> Iterator[Client]:
    """Returns a context with a client of a service that is started in `home` now and stopped afterwards."""
    from app.embedded.children import Child, ChildSpec
    from app.embedded.devices import cuda_devices
    from app.embedded.home import Home

    folder = Home(home)
    on_cpu = [] if cuda_devices() else ["--cpu-workers", str(CPU_WORKERS)]
    service = Child(
        ChildSpec(
            name="binnacle up",
            argv=[sys.executable, "-m", "app.cli", "up", "--home", str(home), "--port", "0", *on_cpu],
            env=dict(os.environ),
            log=folder.logs / "up.log",
            cwd=Path(__file__).resolve().parents[2],
            ready=lambda: (running := folder.running()) is not None and running.pid == service.pid,
            grace=60,
        )
    )
    err.print("starting Postgres, broker, API and workers")
    service.start()
    try:
        service.wait_ready(START_SECONDS)
        running = folder.running()
        if running is None:
            raise BinnacleError("demo_stopped", f"the service stopped right after its start; see {folder.logs}")
        with Client(running.url, local_key(home)) as client:
            yield client
    finally:
        service.stop()


def shipped_folder(name: str) -> Path:
    """Returns the folder of a shipped model. Raises BinnacleError for an unknown name."""
    from shipped import MODELS

    if not (MODELS / name / "config.json").is_file():
        names = ", ".join(sorted(path.parent.name for path in MODELS.glob("*/config.json")))
        raise BinnacleError("unknown_model", f"no shipped model is called {name!r}; there are {names}")
    return MODELS / name


def register(client: Client, name: str, folder: Path) -> None:
    """Puts a model on the allow-list unless its name is there already."""
    try:
        client.add_model(name, str(folder))
    except ServiceError as error:
        if error.code != "model_exists":
            raise
