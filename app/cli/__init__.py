"""Commands that the server's distribution adds to `binnacle`: run, prepare, check and back up a service. Imports no torch.

Importing this package loads no other module, so the entry point starts at once.
"""


def main() -> None:
    """Runs the command line with these commands, also where the distribution's entry points are not installed."""
    from app.cli.tree import COMMANDS
    from binnacle.cli import main as client_main

    client_main(COMMANDS)
