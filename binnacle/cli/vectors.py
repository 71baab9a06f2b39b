"""`binnacle vectors`: finding vectors and downloading them."""

from pathlib import Path
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, Overwrite, err, out, print_json
from binnacle.cli.picking import pick
from binnacle.cli.submit import parse_layers
from binnacle.cli.terminal import Listing
from binnacle.downloads import FORMATS
from binnacle.errors import BinnacleError
from binnacle.steered import HOOKPOINT

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
        chosen = pick(client, extraction, "ext") if extraction else None
        vectors = list(client.vectors(limit=limit, extraction=chosen, **asked))
    if as_json:
        print_json(vectors)
        return
    table = Listing("vector", "model", "trait", "method", "layer", "position", "norm", "name")
    for vector in vectors:
        norm = "" if vector["norm"] is None else f"{vector['norm']:.4g}"
        made_of = vector["model"], vector["trait"], vector["method"], str(vector["layer"]), vector["position"]
        table.add_row(vector["id"], *made_of, norm, vector["name"])
    out.print(table)


@commands.command("import")
def import_vectors(
    file: Annotated[
        Path, typer.Argument(help="A safetensors, .npy or GGUF file; or a .pt file, which is converted on this machine.")
    ],
    model: Annotated[str, typer.Option(help="The registered model that the vectors belong to.")],
    layers: Annotated[
        str | None, typer.Option(help="The layer of each vector; for a .pt file, the layers to take, like 3,5-8.")
    ] = None,
    component: Annotated[str | None, typer.Option(help="residual, attn_out, ...; residual when left out.")] = None,
    position: Annotated[str | None, typer.Option(help="Where the vectors were read, like response[:5].")] = None,
    method: Annotated[str | None, typer.Option(help="A label for how the vectors were made.")] = None,
    trait: Annotated[str | None, typer.Option(help="The trait of the vectors.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the vectors.")] = None,
    as_json: Json = False,
) -> None:
    """Upload vectors that were made elsewhere, and print their ids."""
    fields = {"component": component, "position": position, "method": method, "trait": trait, "name": name}
    with connected() as client:
        vectors = client.import_vectors(
            file, model, vector_layers=None if layers is None else parse_layers(layers), on_note=err.print, **fields
        )
    if as_json:
        print_json(vectors)
        return
    for vector in vectors:
        out.print(f"{vector['id']}  layer {vector['layer']}  {vector['component']}  {vector['method']}")


@commands.command()
def get(
    vector: Annotated[str, typer.Argument(help="The vector's id (vec_...), or its beginning.")],
    to: Annotated[Path, typer.Option("--out", help="A file, or a folder for it.")] = Path(),
    file_format: Annotated[
        str | None, typer.Option("--format", help="safetensors, gguf or npy; by the ending of --out, else safetensors.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Download a vector and print where it is."""
    ending = to.suffix.removeprefix(".")
    chosen = file_format or (ending if ending in FORMATS else FORMATS[0])
    if ending in FORMATS and ending != chosen:
        raise BinnacleError(
            "bad_option", f"--out ends in .{ending} and --format is {chosen}. Name one of them, or give both the same."
        )
    with connected() as client:
        _say(client.download(pick(client, vector, "vec"), to, format=chosen, overwrite=overwrite), as_json)


@commands.command("steered")
def write_steered(
    vector: Annotated[str, typer.Argument(help="The vector's id (vec_...), or its beginning.")],
    coefficient: Annotated[float, typer.Option(help="How much of the unit vector is added, at every position.")],
    to: Annotated[Path, typer.Option("--out", help="A file; its name ends in .pt.")] = Path("steer.pt"),
    hookpoint: Annotated[str, typer.Option(help="The block's name inside the model; {layer} is its number.")] = HOOKPOINT,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a vector for lm-evaluation-harness (lm_eval --model steered) and print where it is."""
    with connected() as client:
        held = pick(client, vector, "vec")
        made = client.write_steered(held, to, coefficient=coefficient, hookpoint=hookpoint, overwrite=overwrite)
    _say(made, as_json)


def _say(path: Path, as_json: bool) -> None:
    if as_json:
        print_json(str(path))
    else:
        out.print(str(path))
