"""Paths and bodies from the API's own description (openapi.json), so that the attacks of this folder leave no operation out."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from app.openapi import FILE

DESCRIBED: dict[str, Any] = json.loads(FILE.read_text())
METHODS = ("get", "post", "put", "patch", "delete")
IDENTIFIERS = {
    "job_id": "job_", "study_id": "job_", "steering_id": "job_", "extraction_id": "job_", "calibration_id": "job_", "vector_id": "vec_",
}  # fmt: skip


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each."""
    for path, item in DESCRIBED["paths"].items():
        for method, told in item.items():
            if method in METHODS:
                yield method.upper(), path, told


def parameters(path: str) -> list[str]:
    """The names between braces."""
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def address(path: str, **given: str) -> str:
    """The path with a value in each place: the one given, or one of the right form that names nothing."""
    for name in parameters(path):
        path = path.replace(f"{{{name}}}", given.get(name) or (IDENTIFIERS[name] + "0" * 26 if name in IDENTIFIERS else "x"))
    return path


def without_effect(told: dict[str, Any]) -> dict[str, str]:
    """The query that keeps an operation from doing anything, where it has a dry run."""
    return {"dry_run": "true"} if any(one["name"] == "dry_run" for one in told.get("parameters", ())) else {}


def with_bodies() -> list[tuple[str, str]]:
    """Method and address of every operation that takes a body."""
    return [(method, address(path)) for method, path, told in operations() if "requestBody" in told]


def schema_of(told: dict[str, Any]) -> dict[str, Any]:
    """The schema of its JSON body."""
    return resolved(told["requestBody"]["content"]["application/json"]["schema"])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself where there was a reference to it."""
    while "$ref" in schema:
        schema = DESCRIBED["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def strings(schema: dict[str, Any], at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every string that the schema has room for: names of fields, 0 for a list's element, `key` and `value` of open objects."""
    schema = resolved(schema)
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from strings(one, at)
    if schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
        yield at
    elif schema.get("type") == "array":
        yield from strings(schema.get("items", {}), (*at, 0))
    elif schema.get("type") == "object":
        for name, inner in schema.get("properties", {}).items():
            yield from strings(inner, (*at, name))
        if schema.get("additionalProperties") or schema.get("patternProperties"):
            yield (*at, "key")
        if schema.get("additionalProperties") is True:
            yield (*at, "value")


def placed(schema: dict[str, Any], base: dict[str, Any], place: tuple[Any, ...], text: str) -> dict[str, Any]:
    """The body with the text at that place. What lies on the way there is made where the body lacks it."""
    body = copy.deepcopy(base)
    _place(resolved(schema), body, place, text)
    return body


def _place(schema: dict[str, Any], holder: Any, place: tuple[Any, ...], text: str) -> None:
    name, rest = place[0], place[1:]
    if not rest and name == "key" and isinstance(holder, dict):
        holder[text] = 1
    elif not rest and name == "value" and isinstance(holder, dict):
        holder["a"] = text
    elif not rest:
        _set(holder, name, text)
    else:
        empty: Any = [None] if rest[0] == 0 else {}
        found = _get(holder, name)
        if not isinstance(found, type(empty)) or (not found and empty):
            found = empty
        _set(holder, name, found)
        _place(schema, found, rest, text)


def _get(holder: Any, name: Any) -> Any:
    return (holder[0] if holder else None) if name == 0 else holder.get(name)


def _set(holder: Any, name: Any, value: Any) -> None:
    if name == 0 and not holder:
        holder.append(value)
    else:
        holder[name] = value
