"""Runs `python -m binnacle`: the command line, for when the `binnacle` script is not on the PATH."""

from binnacle.cli import main

if __name__ == "__main__":
    main()
