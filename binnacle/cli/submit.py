"""`binnacle submit KIND`: submits jobs from the command line."""

import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.jobs import follow
from binnacle.cli.output import Json, out, print_json, print_warnings
from binnacle.cli.price import print_plan
from binnacle.errors import BinnacleError
from binnacle.uploads import contents
from binnacle.words.massive import RULES_IN_WORDS

commands = typer.Typer(help="Submit a job.", no_args_is_help=True)


SET = {"self", "kind", "dry_run", "reuse", "idempotency_key"}
"""Names that are parameters of `client.submit`, not fields of a request."""
Name = Annotated[str | None, typer.Option(help="A name for the job.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")]
Webhook = Annotated[str | None, typer.Option(help="The webhook to notify when the job ends.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check the request and estimate its cost.")]
Watch = Annotated[bool, typer.Option("--watch", help="Wait until the job ends.")]
Model = Annotated[str, typer.Argument(help="Name of a registered model (`binnacle models list`).")]
Trait = Annotated[str, typer.Argument(help="Name of a trait, or name@version (`binnacle traits list`).")]
Methods = Annotated[
    list[str] | None, typer.Option("--method", help="A method, like probe or mean_diff_cleaned; may be repeated.")
]
Layers = Annotated[str | None, typer.Option(help="Layers, like 0,4,8-11; all when left out.")]
NewTokens = Annotated[int | None, typer.Option(help="Length of the greedy answers, in tokens.")]
Experiment = Annotated[str | None, typer.Option(help="The experiment it belongs to: a folder in trait-interp's layout.")]
Variant = Annotated[str | None, typer.Option(help="The model's variant, like instruct: a folder below the experiment.")]
More = Annotated[
    Path | None, typer.Option("--spec", help="A JSON file with further fields of the request, as the API takes them.")
]


@commands.command()
def calibrate(
    model: Model,
    prompts: Annotated[Path | None, typer.Option(help="Your own prompts, one on each line, instead of the shipped ones.")] = None,
    layers: Layers = None,
    rule: Annotated[str | None, typer.Option(help=f"Which dims to list: {RULES_IN_WORDS}.")] = None,
    max_new_tokens: NewTokens = None,
    experiment: Experiment = None,
    model_variant: Variant = None,
    name: Name = None,
    tag: Tags = None,
    webhook: Webhook = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Find the massive dimensions of a model."""
    spec = {
        "model": model,
        "prompts": read_prompts(prompts) if prompts else None,
        "layers": None if layers is None else parse_layers(layers),
        "rule": rule,
        "max_new_tokens": max_new_tokens,
        "experiment": experiment,
        "model_variant": model_variant,
        "name": name,
        "tags": tag,
        "webhook": webhook,
    }
    _submit("calibrate", spec, None, dry_run=dry_run, watch=watch, as_json=as_json)


@commands.command()
def extract(
    model: Model,
    trait: Trait,
    method: Methods = None,
    layers: Layers = None,
    position: Annotated[list[str] | None, typer.Option(help="Tokens to average, like response[:5]; may be repeated.")] = None,
    experiment: Experiment = None,
    model_variant: Variant = None,
    more: More = None,
    name: Name = None,
    tag: Tags = None,
    webhook: Webhook = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Turn a trait into vectors."""
    spec = {
        "model": model,
        "trait": trait,
        "methods": method,
        "layers": None if layers is None else parse_layers(layers),
        "positions": position,
        "experiment": experiment,
        "model_variant": model_variant,
        "name": name,
        "tags": tag,
        "webhook": webhook,
    }
    _submit("extract", spec, more, dry_run=dry_run, watch=watch, as_json=as_json)


@commands.command()
def steer(
    model: Model,
    trait: Trait,
    method: Methods = None,
    layers: Layers = None,
    vector: Annotated[list[str] | None, typer.Option(help="A vector's id, instead of an extraction's; may be repeated.")] = None,
    extraction: Annotated[
        str | None, typer.Option(help="The extraction to take vectors from; the newest that fits when left out.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Doses that the search may run for each vector and layer.")] = None,
    judge: Annotated[str | None, typer.Option(help="The judge that scores; the reference judge when left out.")] = None,
    max_new_tokens: NewTokens = None,
    more: More = None,
    name: Name = None,
    tag: Tags = None,
    webhook: Webhook = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Search each vector's dose and report its gain."""
    spec = {
        "model": model,
        "trait": trait,
        "methods": method,
        "layers": None if layers is None else parse_layers(layers),
        "vectors": vector,
        "extraction": extraction,
        "budget": budget,
        "judge": judge,
        "max_new_tokens": max_new_tokens,
        "name": name,
        "tags": tag,
        "webhook": webhook,
    }
    _submit("steer", spec, more, dry_run=dry_run, watch=watch, as_json=as_json)


def _submit(kind: str, spec: dict[str, Any], more: Path | None, *, dry_run: bool, watch: bool, as_json: bool) -> None:
    """Submits a job. Fields that are None come from the file, or else from the server's defaults."""
    fields = (fields_of(read_json(more), more) if more else {}) | {
        field: value for field, value in spec.items() if value is not None
    }
    with connected() as client:
        job = client.submit(kind, dry_run=dry_run, **fields)
        print_warnings(job)
        if dry_run:
            print_plan(job, as_json=as_json)
        elif watch:
            follow(client, job["id"], as_json=as_json)
        elif as_json:
            print_json(job)
        else:
            out.print(job["id"])


def read_json(path: Path) -> object:
    """Returns the content of a UTF-8 file of JSON, with or without a byte order mark. Raises BinnacleError for another file."""
    try:
        return json.loads(contents(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BinnacleError("bad_spec", f"{path} cannot be read as JSON: {error}") from error


def fields_of(content: object, path: Path) -> dict[str, Any]:
    """Returns the fields of a request that a file holds. Raises BinnacleError for another value than an object, and for the names in SET."""
    if not isinstance(content, dict):
        raise BinnacleError("bad_spec", f"{path} must hold the fields of a request, as a JSON object.")
    if taken := ", ".join(sorted(SET & content.keys())):
        raise BinnacleError(
            "bad_spec", f"{path} must not contain {taken}: the command and its options, like --dry-run, set that."
        )
    return content


def read_prompts(path: Path) -> list[str]:
    """Returns the non-empty lines of a UTF-8 text file, with or without a byte order mark. Raises BinnacleError naming what is wrong with it."""
    try:
        text = io.TextIOWrapper(io.BytesIO(contents(path)), "utf-8-sig").read()  # which makes every line break a \n
    except UnicodeDecodeError as error:
        raise BinnacleError("bad_prompts", f"{path} cannot be read as UTF-8 text: {error}") from error
    prompts = [line for line in text.split("\n") if line.strip()]
    if not prompts:
        raise BinnacleError("bad_prompts", f"{path} has no prompts; write one on each line.")
    return prompts


def parse_layers(text: str) -> list[int]:
    """Returns layers such as `0,4,8-11` as numbers. Raises BinnacleError for other text."""
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = (number.strip() for number in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BinnacleError("bad_layers", f"--layers {text!r}: write numbers and ranges like 0,4,8-11.")
        if dash and int(first) > int(last):
            raise BinnacleError("bad_layers", f"--layers {text!r}: {first}-{last} runs backwards; write {last}-{first}.")
        if max(len(first), len(last)) > 4:
            raise BinnacleError("bad_layers", f"--layers {text!r}: no model has so many layers; write numbers below 10,000.")
        layers.extend(range(int(first), int(last if dash else first) + 1))
    return layers
