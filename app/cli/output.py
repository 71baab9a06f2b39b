"""How the command line speaks: results to stdout, progress and errors to stderr, JSON for programs that ask for it."""

import json
import re
import sys
from typing import Annotated, Any

import typer

from app.cli.terminal import Terminal, styled
from app.client import BinnacleError, ServiceError
from app.embedded.errors import EmbeddedError
from app.visible import UNSHOWN

out = Terminal()
err = Terminal(stderr=True)

_OBEYED = re.compile(rf"(?!\n){UNSHOWN.pattern}")
"""Controls within strings; the line breaks are those between them."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """The value as JSON, one object or list, to stdout; what a terminal would obey is escaped, which JSON's readers undo."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(_OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n")


def print_error(error: Exception, *, as_json: bool) -> None:
    """One readable line to stderr, or one JSON object."""
    code = str(getattr(error, "code", type(error).__name__))
    detail = str(getattr(error, "detail", error))
    if as_json:
        body = {"code": code, "detail": detail}
        if isinstance(error, ServiceError):
            body |= {"status": error.status, "errors": error.errors, "request_id": error.request_id}  # type: ignore[dict-item]
        sys.stderr.write(json.dumps(body) + "\n")
        return
    text = str(error) if isinstance(error, BinnacleError) else f"{code}: {detail}"
    # only what this machine's own programs say comes in lines
    first, *more = text.splitlines() if isinstance(error, EmbeddedError) else [text]
    err.print(styled("error: ", "bold red"), first, sep="")
    for line in more:
        err.print(line)
