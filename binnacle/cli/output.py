"""Output of the command line: results to stdout, progress and errors to stderr, JSON on request."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from binnacle.cli.speech import spoken
from binnacle.cli.terminal import Terminal, styled
from binnacle.errors import BinnacleError, ServiceError
from binnacle.words.visible import UNSHOWN

out = Terminal()
err = Terminal(stderr=True)

_OBEYED = re.compile(rf"(?!\n){UNSHOWN.pattern}")
"""Control characters within strings; line breaks are excluded because JSON's own indentation contains them."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that holds other content.")]


def print_json(value: Any) -> None:
    """Prints the value as JSON, one object or list, to stdout. Characters that a terminal would act on are escaped, and JSON parsers undo
    this.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(_OBEYED.sub(lambda match: json.dumps(match[0])[1:-1], text) + "\n")


def print_warnings(subject: Mapping[str, Any]) -> None:
    """Prints the warnings of a trait, a dry run or a submission, one line each, to stderr."""
    for warning in subject.get("warnings", ()):
        err.print(styled("warning: ", "bold yellow"), warning, sep="")


def print_error(error: BinnacleError, *, as_json: bool) -> None:
    """Prints an error to stderr: one readable line, or one JSON object."""
    if as_json:
        body: dict[str, Any] = {"code": error.code, "detail": error.detail}
        if isinstance(error, ServiceError):
            body |= {"status": error.status, "errors": error.errors, "request_id": error.request_id}
        sys.stderr.write(json.dumps(body) + "\n")
        return
    text = spoken(str(error)) if isinstance(error, ServiceError) or error.code == "bad_value" else str(error)
    first, *more = text.splitlines() if error.own_lines else [text]
    err.print(styled("error: ", "bold red"), first, sep="")
    for line in more:
        err.print(line)
