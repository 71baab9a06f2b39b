"""The command line, `binnacle`. It is a client like any other: what it does to jobs it does over HTTP. Imports no torch.

Importing this package loads nothing else, so that `python -m app.cli up` and the entry point start at once.
"""


def main() -> None:
    """The entry point."""
    from app.cli.application import run

    run()
