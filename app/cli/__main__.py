"""`python -m app.cli`: the command line, for when the entry point is not on the PATH."""

from app.cli import main

if __name__ == "__main__":
    main()
