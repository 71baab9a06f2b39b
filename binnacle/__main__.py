"""`python -m binnacle`: the command line where the `binnacle` script is not on the PATH."""

from binnacle.cli import main

if __name__ == "__main__":
    main()
