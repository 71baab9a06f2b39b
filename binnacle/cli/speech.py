"""Translates the server's messages into the terms of the command line: commands instead of routes, options instead of request fields.

With `--json`, errors keep the API's terms, for programs.
"""

import re

ROUTES = (
    (r"GET /v1/jobs/(\S+?)\?wait=\d+", r"binnacle watch \1"),
    (r"POST /v1/jobs/(\w+)/(retry|cancel)", r"binnacle \2 \1"),
    (r"DELETE /v1/jobs/(\w+)\?dry_run=true", r"binnacle delete \1 --dry-run"),
    (r"DELETE /v1/jobs/(\w+)", r"binnacle delete \1"),
    (r"PATCH /v1/jobs/(\w+)", r"binnacle edit \1"),
    (r"DELETE /v1/webhooks/(\S+?)(?=[).,;]|$)", r"binnacle webhooks remove \1"),
    (r"POST /v1/webhooks", "binnacle webhooks add NAME URL"),
    (r"POST /v1/traits", "binnacle traits add FOLDER"),
    (r"GET /v1/(traits|models)", r"binnacle \1 list"),
    (r"POST /v1/steerings", "binnacle submit steer"),
    (r"POST /v1/extractions", "binnacle submit extract"),
)
"""Routes as errors name them, and the equivalent command; the first match is used."""
OPTIONS = {
    "model": "MODEL",
    "trait": "TRAIT",
    "methods": "--method",
    "positions": "--position",
    "vectors": "--vector",
    "tags": "--tag",
    "doses": "--dose",
    "coefficients": "--coefficient",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "layers", "prompts", "extraction", "budget", "judge", "rule", "max_new_tokens", "experiment", "model_variant", "name", "webhook",
            "notes", "keep", "group", "revision",
        )
    },
}  # fmt: skip
"""Request fields, and the option or argument that sets each. Other fields are set in the file of `--spec`."""
_POINTER = re.compile(rf"(?<![\w/.:])/({'|'.join(sorted(OPTIONS, key=len, reverse=True))})(?:/(\d+)\b)?(?![\w/])")

_PARAMETER = re.compile(r"\b(?:path|query)\.([a-z]+)(?:_id)?(?=: )")
"""A parameter of a route, as errors name it: `path.vector_id: `."""


def spoken(text: str) -> str:
    """Returns the text with routes and pointers replaced by commands and options."""
    for route, command in ROUTES:
        text = re.sub(route, command, text)
    return _POINTER.sub(_option, _PARAMETER.sub(r"\1", text))


def _option(match: re.Match[str]) -> str:
    option = OPTIONS[match[1]]
    return option if match[2] is None else f"{option} (value {int(match[2]) + 1})"
