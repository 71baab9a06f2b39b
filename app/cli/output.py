"""How the command line speaks: results to stdout, progress and errors to stderr, JSON for programs that ask for it."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from app.client import BinnacleError, ServiceError

WIDE = 140
"""Columns where there is no terminal to ask."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else WIDE)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def print_json(value: Any) -> None:
    """The value as JSON, one object or list, to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


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
    err.print("error: ", style="bold red", end="")
    err.print(text, markup=False)
