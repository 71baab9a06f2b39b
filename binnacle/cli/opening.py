"""`binnacle open`: opens a browser that is signed in."""

import webbrowser
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import err, out
from binnacle.errors import BinnacleError


def open_page(
    job: Annotated[str | None, typer.Argument(help="A job's id, to open its page; your jobs when left out.")] = None,
    print_only: Annotated[bool, typer.Option("--print", help="Print the address instead of opening a browser.")] = False,
) -> None:
    """Open the pages in a browser, signed in as you. The address works once, within 60 seconds."""
    with connected() as client:
        if client.url.startswith("unix:"):
            raise BinnacleError("no_address", "The service listens on a unix socket, which browsers cannot open. Give it a port.")
        address = client.sign_in_address(job)
    if not print_only and webbrowser.open(address):
        err.print("opened in your browser; the address works once")
        return
    out.print(address)
