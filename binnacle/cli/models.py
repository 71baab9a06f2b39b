"""`binnacle models`: the models that jobs may name."""

from pathlib import Path
from typing import Annotated

import typer

from binnacle.board import Model
from binnacle.cli.connecting import connected
from binnacle.cli.live import Watcher
from binnacle.cli.output import Json, err, out, print_json
from binnacle.cli.proofs import model_report
from binnacle.cli.speech import spoken
from binnacle.cli.terminal import Listing
from binnacle.results import Job

commands = typer.Typer(help="Models that jobs can use.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The model's name.")]


@commands.command("list")
def list_models(as_json: Json = False) -> None:
    """List the registered models."""
    with connected() as client:
        models = client.models()
    if as_json:
        print_json(models)
        return
    table = Listing("model", "state", "proofs", "layers", "hidden size", "source")
    for model in models:
        facts = model["facts"]
        table.add_row(
            model["name"],
            model["state"],
            model["outcome"],
            *(str(facts.get(key, "")) for key in ("layers", "hidden_size")),
            model["source"],
        )
    out.print(table)


@commands.command()
def add(
    name: Name,
    source: Annotated[str, typer.Argument(help="A folder on the server, or owner/name on the hub.")],
    revision: Annotated[str | None, typer.Option(help="The pinned commit of a hub model.")] = None,
    as_json: Json = False,
) -> None:
    """Register a model and wait until the server has inspected and proved it."""
    folder = Path(source)
    with connected() as client:
        client.add_model(name, str(folder.resolve()) if folder.is_dir() else source, revision=revision)
        with Watcher() as watcher:

            def shown(job: Job) -> None:
                if job["state"] != "failed":  # the model's fault says why it failed
                    watcher(job)

            model = client.await_model(name, on_change=None if as_json else shown)
        report(model, as_json=as_json)


@commands.command("inspect", hidden=True)
@commands.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a model: its facts and its proofs."""
    with connected() as client:
        report(client.model(name), as_json=as_json)


@commands.command()
def remove(name: Name) -> None:
    """Remove a model from the list; its files and results stay, and it can be added again (administrators only)."""
    with connected() as client:
        client.admin.remove_model(name)
    err.print(f"new jobs cannot use {name} any longer; its results stay")


def report(model: Model, *, as_json: bool) -> None:
    """Prints a model; exits with status 1 if it is faulty; a faulty model without facts has no table."""
    if as_json:
        print_json(model)
    elif model["state"] != "faulty" or model["facts"]:
        out.print(model_report(model))
    if model["state"] == "faulty":
        name, fault = model["name"], model["fault"] or {}
        err.print(
            f"{name} cannot be used: {fault.get('code')}: {spoken(fault.get('detail') or '')} "
            f"It stays listed as faulty; to try again: binnacle models remove {name}, then binnacle models add {name}."
        )
        raise typer.Exit(1)
