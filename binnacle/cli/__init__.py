"""The command line, `binnacle`. It is a client like any other: what it does to jobs it does over HTTP.

Importing this package loads nothing else, so that the entry point starts at once.
"""


def main() -> None:
    """The entry point."""
    from binnacle.cli.running import run

    run()
