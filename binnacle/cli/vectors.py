"""`binnacle vectors`: finding vectors and downloading them."""

from pathlib import Path
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, out, print_json
from binnacle.cli.picking import pick
from binnacle.cli.terminal import Listing

commands = typer.Typer(help="Vectors to steer with: list and download them.", no_args_is_help=True)


@commands.command("list")
def list_vectors(
    model: Annotated[str | None, typer.Option(help="Name of a model.")] = None,
    trait: Annotated[str | None, typer.Option(help="Name of a trait.")] = None,
    method: Annotated[str | None, typer.Option(help="A method, like probe or mean_diff_cleaned.")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="A layer.")] = None,
    extraction: Annotated[str | None, typer.Option(help="An extraction (ext_...).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to list.")] = 20,
    as_json: Json = False,
) -> None:
    """List vectors, newest first."""
    asked = {"model": model, "trait": trait, "method": method, "layer": layer}
    with connected() as client:
        chosen = pick(client, extraction) if extraction else None
        found = list(client.vectors(limit=limit, extraction=chosen, **asked))
    if as_json:
        print_json(found)
        return
    table = Listing("vector", "model", "trait", "method", "layer", "position", "norm", "name")
    for one in found:
        norm = "" if one["norm"] is None else f"{one['norm']:.4g}"
        made_of = one["model"], one["trait"], one["method"], str(one["layer"]), one["position"]
        table.add_row(one["id"], *made_of, norm, one["name"])
    out.print(table)


@commands.command()
def get(
    vector: Annotated[str, typer.Argument(help="The vector's id (vec_...), or its beginning.")],
    to: Annotated[Path, typer.Option("--out", help="A file, or a folder for it.")] = Path(),
    file_format: Annotated[str, typer.Option("--format", help="safetensors, gguf or npy.")] = "safetensors",
    as_json: Json = False,
) -> None:
    """Download a vector and print where it is."""
    with connected() as client:
        path = client.download(pick(client, vector), to, format=file_format)
    if as_json:
        print_json(str(path))
    else:
        out.print(str(path))
