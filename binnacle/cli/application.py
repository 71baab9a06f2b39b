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
    found: Any = command.load()
    if isinstance(found, typer.Typer):
        groups[name] = found
        to.add_typer(found, name=name)
    elif not any(one.name == name for one in to.registered_commands):
        to.command(name)(found)


def _no_options() -> None:
    """Takes no options: those of `binnacle` itself are read before this application is built."""
