"""`binnacle demo`: the whole service, from nothing to a study's tables, over HTTP like any client; then everything stops."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.live import Watcher
from app.cli.models import register, shipped_folder
from app.cli.output import err, out
from app.cli.show import calibration_report
from app.cli.tables import study_report
from app.client import BinnacleError, Client

START_SECONDS = 180.0
STUDY: dict[str, Any] = {
    "traits": ["refusal", "sycophancy"],
    "layers": [3],
    "budget": 5,
    "max_new_tokens": 32,
    "test_limit": 48,
    "controls": {"random": 2, "shuffled": 1, "prompt_only": True},
}
"""Small enough for a minute or two on two cores, large enough for intervals: at least 20 clusters of test questions."""


def demo(
    home: Annotated[Path, typer.Option(help="Data folder; kept, so that a second demo starts faster.")] = Path("data"),
    model: Annotated[str, typer.Option(help="Which shipped model to calibrate and study.")] = "demo-severe",
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Where calibration.json goes; the data folder when left out.")
    ] = None,
) -> None:
    """Start everything, calibrate a shipped model and study it over HTTP, print what was found, stop."""
    started = time.monotonic()
    folder = shipped_folder(model)
    with running_service(home.absolute()) as client:
        err.print(f"service ready at {client.url} after {time.monotonic() - started:.0f} s")
        register(client, model, folder)
        ready(client.await_model(model))
        job = client.calibrate(model, name="demo")
        err.print(f"POST /v1/calibrations -> {job['id']}")
        with Watcher() as watcher:
            job = client.wait(job, on_change=watcher)
        [artifact] = [file for file in job["artifacts"] if file["name"] == "calibration.json"]
        path = client.download(artifact, (out_dir or home) / model / "calibration.json")
        out.print(calibration_report(client.calibration(job["id"])))
        out.print(f"\ncalibration.json ({artifact['size']:,} bytes): {path}\n", markup=False)
        study(client, model, (out_dir or home) / model)
    err.print(f"everything is stopped; {time.monotonic() - started:.0f} s in all")


def study(client: Client, model: str, folder: Path) -> None:
    """Extract, steer and compare; the tables are printed and the report is kept in `folder`."""
    job = client.study([model], name="demo", **STUDY)
    err.print(f"POST /v1/studies -> {job['id']}")
    with Watcher() as watcher:
        job = client.wait(job, on_change=watcher)
    report = next(file for file in job["artifacts"] if file["name"] == "report.html")
    path = client.download(report, folder / "report.html")
    out.print(study_report(client.tables(job["id"])))
    out.print(f"\nreport.html, with plots ({report['size']:,} bytes): {path}", markup=False)


def ready(model: dict[str, Any]) -> None:
    """Raises BinnacleError, with what inspecting it found, for a model that cannot be used."""
    if model["state"] != "ready":
        fault = model["fault"] or {}
        raise BinnacleError(fault.get("code", "model_not_ready"), fault.get("detail", f"{model['name']} is {model['state']}"))


@contextmanager
def running_service(home: Path) -> Iterator[Client]:
    """A client of the service in `home`, which is started for the purpose and stopped afterwards."""
    from app.embedded.children import Child, ChildSpec
    from app.embedded.home import Home

    folder = Home(home)
    service = Child(
        ChildSpec(
            name="binnacle up",
            argv=[sys.executable, "-m", "app.cli", "up", "--home", str(home), "--port", "0"],
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
            raise BinnacleError("demo_stopped", f"the service stopped as soon as it ran; see {folder.logs}")
        with Client(running.url, folder.key_file.read_text().strip()) as client:
            yield client
    finally:
        service.stop()
