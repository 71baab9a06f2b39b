"""`binnacle doctor`: checks everything the service depends on and says what to do about each fault."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app.cli.checkup import gpu, running, stores
from app.cli.checkup.finding import Finding
from binnacle import BinnacleError
from binnacle.address import home_folder
from binnacle.cli.output import Json, out, print_json
from binnacle.cli.terminal import styled

MARKS = {"ok": "green", "note": "yellow", "fault": "bold red"}
Look = Callable[[], Iterator[Finding]]
"""A check: a function that yields its findings."""
OWN_SETTINGS = frozenset({"settings", "storage"})
"""The checks that name invalid settings. To the others they are a reason not to look."""


def doctor(
    home: Annotated[Path | None, typer.Option(help="Data folder; BINNACLE_HOME or ~/.binnacle when left out.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The port `binnacle up` would use; 8000 when left out and no service runs."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check this machine and the service, and say what to do. Exits with 1 when a check fails."""
    folder = (home or home_folder()).expanduser()
    findings = [finding for about, look in looks(folder, port).items() for finding in _guarded(about, look)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            table.add_row(finding.about, styled(finding.level, MARKS[finding.level]), finding.detail)
        out.print(table)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def looks(home: Path, port: int | None) -> dict[str, Look]:
    """Returns the checks by the name of what they check. What others depend on is checked first."""
    return {
        "settings": lambda: stores.settings(home),
        "python": gpu.python,
        "torch": gpu.torch_and_driver,
        "devices": gpu.cards,
        "disk": lambda: stores.disk(home),
        "database": lambda: stores.database(home),
        "broker": lambda: stores.broker(home),
        "storage": lambda: stores.storage(home),
        "port": lambda: running.listening(home, port),
        "service": lambda: running.service(home),
    }


def _guarded(about: str, look: Look) -> Iterator[Finding]:
    """Yields what a check found. An exception of the check becomes a fault with the first line of its message."""
    try:
        yield from look()
    except Exception as error:
        if isinstance(error, BinnacleError) and error.code == "settings_invalid" and about not in OWN_SETTINGS:
            yield Finding(about, "note", "not checked, as the settings are not valid")
            return
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        yield Finding(about, "fault", reason)
