"""`binnacle gc`: lists old results, and removes them."""

from typing import Annotated

import typer
from rich.filesize import decimal

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, err, out, print_json
from binnacle.cli.terminal import Listing
from binnacle.words.counting import counted


def gc(
    older_than: Annotated[float, typer.Option(min=0.001, help="Only jobs that ended more than this many days ago.")] = 90,
    yes: Annotated[bool, typer.Option("--yes", help="Remove the results; without this option they are only listed.")] = False,
    as_json: Json = False,
) -> None:
    """Show the results of old jobs, with their age and size, and with --yes remove them.

    Kept jobs (`binnacle edit JOB --keep`), the jobs they depend on and results that unfinished jobs need stay, and so does every job's history.
    """
    with connected() as client:
        told = client.remove_old_results(older_than) if yes else client.old_results(older_than)
    if as_json:
        print_json(told)
        return
    table = Listing("job", "kind", "owner", "name", "age", "files", "size")
    for result in told["items"]:
        age, size = f"{result['age_days']:.1f} d", decimal(result["bytes"])
        table.add_row(result["job"], result["kind"], result["owner"], result["name"], age, str(result["files"]), size)
    if told["items"]:
        out.print(table)
    cut = f" (the oldest {len(told['items'])} are listed)" if len(told["items"]) < told["jobs"] else ""
    total = f"{counted(told['jobs'], 'job')}{cut}, {counted(told['files'], 'file')}, {decimal(told['bytes'])}"
    if told["removed"]:
        err.print(f"removed the results of {total}; {decimal(told['freed_bytes'] or 0)} are freed at once, the rest within a day")
    else:
        err.print(
            f"{total} can be removed; nothing was removed yet. Remove them with: binnacle gc --older-than {older_than:g} --yes"
        )
