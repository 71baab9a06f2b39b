"""The command line, `binnacle`. It works on jobs over HTTP, like any other client.

Importing this package imports nothing else, so that the entry point starts fast.
"""


def main() -> None:
    """Runs the command line; the entry point of the script."""
    from binnacle.cli.running import run

    run()
