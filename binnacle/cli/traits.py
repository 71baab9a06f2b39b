"""`binnacle traits`: datasets of prompts that show a trait and prompts that do not."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, err, out, print_json, print_warnings
from binnacle.cli.terminal import Listing
from binnacle.results import Trait

commands = typer.Typer(help="Datasets of prompts that show a trait and prompts that do not.", no_args_is_help=True)
COUNTS = ("positive", "negative", "selection", "test")


@commands.command("list")
def list_traits(as_json: Json = False) -> None:
    """List the traits that you may use, newest first."""
    with connected() as client:
        traits = client.traits()
    if as_json:
        print_json(traits)
        return
    table = Listing("trait", "owner", *COUNTS, "notes")
    for trait in traits:
        counts = [str(trait["counts"].get(name, "")) for name in COUNTS]
        table.add_row(trait["reference"], trait["owner"], *counts, str(len(trait["notes"]) or ""))
    out.print(table)


@commands.command()
def add(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="A folder with positive.txt or .jsonl, negative.*, definition.txt, steering.json; or files of another format, "
            "with steering.json and definition.txt beside them if you have them."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="The trait's name; the folder's or file's when left out.")] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="folder, caa, persona_vectors, repeng, pairs or messages; recognised from the content when left out."
        ),
    ] = None,
    public: Annotated[bool, typer.Option(help="Everyone may use it (administrators only).")] = False,
    group: Annotated[str | None, typer.Option(help="The members of this group may use it; you must be a member.")] = None,
    as_json: Json = False,
) -> None:
    """Upload a trait: a trait-interp folder, CAA or persona_vectors JSON, repeng entries, CSV or JSON-lines pairs, or conversations.

    Notes on the content that was taken and left out are printed to stderr.
    """
    with connected() as client:
        visibility = "public" if public else "group" if group else None
        report(
            client.add_trait(
                files if len(files) > 1 else files[0],
                name,
                file_format=file_format,
                visibility=visibility,
                group=group,
                on_note=err.print,
            ),
            as_json=as_json,
        )


@commands.command()
def show(
    trait: Annotated[str, typer.Argument(help="Its name, name@version or id.")],
    as_json: Json = False,
) -> None:
    """Show a trait's counts and the fields filled in at upload."""
    with connected() as client:
        report(client.trait(trait), as_json=as_json)


def report(trait: Trait, *, as_json: bool) -> None:
    """Prints a trait; notes on content that is used, dropped or shared between parts, and what a verdict lacks, go to stderr."""
    if as_json:
        print_json(trait)
        return
    table = Table.grid(padding=(0, 2))
    clusters = ", ".join(f"{count} in {part}" for part, count in trait["counts"]["clusters"].items())
    rows = {
        "trait": trait["reference"],
        "owner": trait["owner"],
        **{name: trait["counts"][name] for name in COUNTS},
        "clusters": clusters,
    }
    for field, value in rows.items():
        table.add_row(field, str(value))
    out.print(table)
    for note in trait["notes"]:
        err.print(note)
    print_warnings(trait)
