"""Builds the typer application of a table of commands."""

from typing import Any

import typer

from binnacle.cli.tree import ABOUT, Command, Table


def build(commands: Table) -> typer.Typer:
    """Returns an application with these commands; imports all their modules."""
    application = typer.Typer(name="binnacle", help=ABOUT, no_args_is_help=True, pretty_exceptions_enable=False)
    application.callback()(_no_options)
    groups: dict[str, typer.Typer] = {}
    for name, command in commands.items():
        group, _, leaf = name.rpartition(" ")
        _add(groups[group] if group else application, leaf, command, groups)
    return application


def _add(to: typer.Typer, name: str, command: Command, groups: dict[str, typer.Typer]) -> None:
    """Adds a command, or a group, which is also noted in `groups`. A group that has the command from an earlier `build` stays as it is."""
    loaded: Any = command.load()
    if isinstance(loaded, typer.Typer):
        groups[name] = loaded
        to.add_typer(loaded, name=name)
    elif not any(registered.name == name for registered in to.registered_commands):
        to.command(name)(loaded)


def _no_options() -> None:
    """Takes no options: those of `binnacle` itself are read before this application is built."""
