"""Runs the requested command, importing only its module."""

import errno
import io
import os
import sys
from collections.abc import Sequence

from binnacle.cli.tree import ABOUT, Table, all_commands
from binnacle.errors import BinnacleError

COMPLETING = "_BINNACLE_COMPLETE"
"""Environment variable set by the shell when it requests completions."""


def run(more: Table | None = None) -> None:
    """Runs the command line and exits with 0, or with another status after printing the reason. more: commands in addition to the installed
    ones.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escapes characters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    arguments, commands = sys.argv[1:], all_commands(more or {})
    if COMPLETING not in os.environ:
        if not arguments or arguments[0] in {"--help", "-h"}:
            print_help(commands)
            sys.exit(0)
        if arguments[0] in {"--version", "version"}:
            print_version()
            sys.exit(0)
    try:
        _run(chosen(arguments, commands))
    except BinnacleError as error:
        from binnacle.cli.output import print_error

        print_error(error, as_json="--json" in arguments)
        sys.exit(error.exit_status)
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise  # not about a file: an error in this program, which its traceback explains
        from binnacle.cli.output import print_error

        detail = f"{error.filename or 'A file'}: {error.strerror}. Check the path, its permissions and the free space."
        print_error(BinnacleError("file_error", detail), as_json="--json" in arguments)
        sys.exit(1)


def chosen(arguments: Sequence[str], commands: Table) -> Table:
    """Returns the requested command and its subcommands; all commands if the arguments do not name one."""
    requested = {name: command for name, command in commands.items() if arguments and name.split()[0] == arguments[0]}
    return requested if requested and COMPLETING not in os.environ else commands


def _run(commands: Table) -> None:
    from binnacle.cli.application import build

    build(commands)(prog_name="binnacle")


def print_help(commands: Table) -> None:
    """Prints the commands with their one line of help, without importing any of them."""
    width = max(len(name) for name in commands if " " not in name) + 2
    lines = [f"  {name:<{width}}{command.about}" for name, command in commands.items() if " " not in name]
    sys.stdout.write(
        "Usage: binnacle COMMAND [ARGS]...\n\n"
        f"  {ABOUT}\n\n"
        "Options:\n"
        "  --help                Show this; `binnacle COMMAND --help` says more.\n"
        "  --version             Show the version; `binnacle status` shows the server's.\n"
        "  --install-completion  Install completion for the current shell.\n\n"
        "Commands:\n" + "\n".join(lines) + "\n"
    )


def print_version() -> None:
    """Prints the client's version."""
    from binnacle.version import VERSION

    sys.stdout.write(f"binnacle {VERSION}\n")
