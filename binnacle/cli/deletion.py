"""`binnacle delete`: deletes jobs with their results, imported vectors and traits. Shows what will be deleted before it asks."""

from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, err, print_json
from binnacle.cli.picking import pick
from binnacle.errors import BinnacleError
from binnacle.results import Deletion
from binnacle.words.counting import counted


def delete(
    what: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Jobs or ids of their results, imported vectors, traits (id, name@version)."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete finished jobs with their results, imported vectors or traits. This cannot be undone."""
    with connected() as client:
        what = [pick(client, typed) for typed in what]
        if dry_run or not yes:
            plans = [client.delete(reference, dry_run=True) for reference in what]
            if dry_run and as_json:
                print_json(plans)
                return
            for plan in plans:
                _tell(plan, "would be deleted" if dry_run else "will be deleted")
            if dry_run:
                return
            if not typer.confirm("Delete this? It cannot be undone.", err=True):
                raise BinnacleError("not_deleted", "nothing was deleted")
        done = [client.delete(reference) for reference in what]
    if as_json:
        print_json(done)
        return
    for told in done:
        _tell(told, "deleted")


def _tell(told: Deletion, verb: str) -> None:
    """Prints what is deleted, its size, and what stays."""
    for deleted in told["deleted"]:
        name = f", {deleted['name']}" if deleted["name"] else ""
        err.print(f"{verb}: {deleted['id']} ({deleted['kind']}{name})")
    sizes = [counted(told["files"], "file"), counted(told["vectors"], "vector"), counted(told["bytes"], "byte")]
    err.print(f"  {', '.join(sizes)}")
    for staying in told["stays"]:
        err.print(f"stays: {staying['id']} ({staying['kind']}): {staying['why']}")
