"""`binnacle study`: lists the shipped comparisons, runs whole ones, from a file or shipped, and labels their texts."""

import csv
import io
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.live import Watcher
from binnacle.cli.output import Json, err, out, print_json, print_warnings
from binnacle.cli.picking import pick
from binnacle.cli.price import print_plan
from binnacle.cli.submit import fields_of, read_json
from binnacle.cli.tables import study_report
from binnacle.cli.terminal import Listing
from binnacle.errors import BinnacleError
from binnacle.shipped import ShippedStudy, shipped_studies, shipped_study
from binnacle.uploads import contents
from binnacle.words.sheets import restored

LABEL = re.compile(r"[0-9]{1,3}([.,][0-9]{1,20})?", re.ASCII)
SEPARATORS = ",;\t"
"""What spreadsheets put between cells, by the language of the system; where it is `;`, numbers have a decimal comma."""
commands = typer.Typer(help="Compare methods over models and traits.", no_args_is_help=True)


@commands.command("list")
def list_specs() -> None:
    """List the studies that ship with Binnacle."""
    table = Listing("name", "models", "traits", "about")
    for study in shipped_studies():
        table.add_row(study.name, ", ".join(study.request["models"]), ", ".join(study.request["traits"]), study.about)
    out.print(table)


@commands.command()
def run(
    spec: Annotated[
        str, typer.Argument(help="The name of a shipped study (`binnacle study list`), or a JSON file with a request.")
    ],
    full: Annotated[
        bool, typer.Option("--full", help="Full evidence: refits, ablation, off-target matrix; takes hours, not minutes.")
    ] = False,
    reuse: Annotated[bool, typer.Option("--reuse", help="Use finished jobs of the same calculation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan it and estimate its cost.")] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Also write the tables as Markdown, to this file, which is replaced; `severity` goes to docs/severity.md.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study, print its tables, keep its report here (with --json, only print its tables)."""
    chosen = read(spec)
    asked = chosen.request | ({"evidence": "full"} if full else {})
    page = page or (Path(chosen.page) if chosen.page else None)
    with connected() as client:
        job = client.submit("study", dry_run=dry_run, reuse=reuse, **asked)
        print_warnings(job)
        if dry_run:
            print_plan(job, as_json=as_json)
            return
        with Watcher() as watcher:
            job = client.wait(job, on_change=watcher)
        tables = client.tables(job["id"])
        files = {file["name"]: file for file in job["artifacts"]}
        if page is not None:
            page.parent.mkdir(parents=True, exist_ok=True)
            err.print(f"tables as Markdown: {client.download(files['report.md'], page, overwrite=True)}")
        if as_json:
            print_json(tables)
            return
        out.print(study_report(tables))
        path = client.download(files["report.html"], Path(f"{job['id']}.report.html"))
        err.print(f"report.html, with plots: {path}")


@commands.command()
def label(
    study: Annotated[str, typer.Argument(help="The study (std_...) or its job.")],
    sheet: Annotated[Path, typer.Argument(help="Its labelling.csv with the last column filled in, 0 to 100.")],
) -> None:
    """Send back a filled-in labelling sheet; the report is written again, with the judge's agreement."""
    labels = read_labels(sheet)
    with connected() as client:
        job = client.label(pick(client, study, "std"), labels)
        with Watcher() as watcher:
            job = client.wait(job, on_change=watcher)
        out.print(study_report(client.tables(job["id"])))


def read(spec: str) -> ShippedStudy:
    """Returns a shipped study, or one of a file's `request` or whole content. Raises BinnacleError for a file without a request."""
    path = Path(spec)
    if path.suffix != ".json":
        return shipped_study(spec)
    content = read_json(path)
    request = content["request"] if isinstance(content, dict) and "request" in content else content
    return ShippedStudy(path.stem, "", fields_of(request, path))


def read_labels(path: Path) -> dict[str, float]:
    """Returns the labels of a filled-in sheet by id, without empty ones. Raises BinnacleError naming the row, as a spreadsheet counts, or the
    columns."""
    try:
        # "replace": a spreadsheet may save answers in another encoding; only the ids and labels are read
        with io.TextIOWrapper(io.BytesIO(contents(path)), "utf-8-sig", errors="replace", newline="") as file:
            head = file.readline()
            file.seek(0)
            columns, *rows = [*csv.reader(file, delimiter=max(SEPARATORS, key=head.count))] or [[]]
    except csv.Error as error:
        raise BinnacleError("bad_labels", f"{path} cannot be read as CSV: {error}") from error
    if not {"id", "label"} <= set(columns):
        listed = ", ".join(columns) or "none"
        raise BinnacleError(
            "bad_labels", f"{path} must have the columns id and label, as labelling.csv has; it has: {listed[:200]}."
        )
    labels: dict[str, float] = {}
    for number, cells in enumerate(rows, start=2):
        row = dict(zip(columns, map(restored, cells), strict=False))  # a spreadsheet may leave out empty cells at the end
        if text := row.get("label", "").strip():
            labels |= _label(f"{path}, row {number}", row.get("id", ""), text, labels)
    if not labels:
        raise BinnacleError("bad_labels", f"{path} has no labels; fill in its last column.")
    return labels


def _label(where: str, name: str, text: str, known: Collection[str]) -> dict[str, float]:
    """Returns the label of one row by its id. Raises BinnacleError for a label that is not from 0 to 100, and without an id of its own."""
    label = float(text.replace(",", ".")) if LABEL.fullmatch(text) else math.inf
    if not name or label > 100:
        raise BinnacleError("bad_labels", f"{where}: {text!r} is not a number from 0 to 100 beside an id.")
    if name in known:
        raise BinnacleError("bad_labels", f"{where}: {name} has a label in an earlier row, too. Keep one row for each text.")
    return {name: label}
