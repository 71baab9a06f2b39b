"""The commands that the server's distribution adds to `binnacle`: they run, prepare, check and back up a service. Imports no torch.

Importing this package loads nothing else, so that the entry point starts at once.
"""


def main() -> None:
    """The command line, with these commands also where the distribution's entry points are not installed."""
    from app.cli.tree import COMMANDS
    from binnacle.cli.running import run

    run(COMMANDS)
