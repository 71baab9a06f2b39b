"""The command line, `binnacle`. It works on jobs over HTTP, like any other client.

Importing this package imports nothing else, so that the entry point starts fast.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binnacle.cli.tree import Table


def main(more: "Table | None" = None) -> None:
    """Runs the command line; the entry point of the script. more: commands in addition to the installed ones.

    Ctrl-C ends it with status 130, also while it still imports.
    """
    try:
        from binnacle.cli.running import run

        run(more)
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells count
