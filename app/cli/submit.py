"""`binnacle submit KIND`: making jobs from the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.jobs import follow
from app.cli.output import Json, out, print_json
from app.client import BinnacleError, Client

commands = typer.Typer(help="Submit a job.", no_args_is_help=True)


@commands.callback()
def kinds() -> None:
    """Submit a job."""


@commands.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="Name of a registered model (`binnacle models list`).")],
    prompts: Annotated[Path | None, typer.Option(help="Your own prompts, one a line, instead of the shipped ones.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to capture, like 0,4,8-11; all when left out.")] = None,
    rule: Annotated[str | None, typer.Option(help="Which dims to list: massive, top5-3layers, all, sun or ratio:R.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Length of the greedy answers.")] = None,
    name: Annotated[str | None, typer.Option(help="A name people will recognise.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    webhook: Annotated[str | None, typer.Option(help="The webhook that is told when it is over.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it and estimate its cost.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it is over.")] = False,
    as_json: Json = False,
) -> None:
    """Find the massive dimensions of a model."""
    spec: dict[str, Any] = {
        "prompts": read_prompts(prompts) if prompts else None,
        "layers": parse_layers(layers) if layers else None,
        "rule": rule,
        "max_new_tokens": max_new_tokens,
        "name": name,
        "tags": tag or None,
        "webhook": webhook,
    }
    given = {field: value for field, value in spec.items() if value is not None}
    with Client() as client:
        job = client.calibrate(model, dry_run=dry_run, **given)
        if dry_run:
            print_json(job)
        elif watch:
            follow(client, job["id"], as_json=as_json)
        elif as_json:
            print_json(job)
        else:
            out.print(job["id"])


def read_prompts(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 text file. Raises BinnacleError naming what is wrong with it."""
    try:
        prompts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BinnacleError("bad_prompts", f"{path} cannot be read as UTF-8 text: {error}") from error
    if not prompts:
        raise BinnacleError("bad_prompts", f"{path} holds no prompt; write one a line.")
    return prompts


def parse_layers(text: str) -> list[int]:
    """`0,4,8-11` as numbers. Raises BinnacleError when it is not written so."""
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BinnacleError("bad_layers", f"--layers {text!r}: write numbers and ranges like 0,4,8-11.")
        layers.extend(range(int(first), int(last if dash else first) + 1))
    return layers
