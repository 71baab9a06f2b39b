"""`python -m app.cli`: the command line where the entry point is not on the PATH."""

from app.cli import main

if __name__ == "__main__":
    main()
