"""Reads bodies that are JSON or a form with files, for routes marked `takes_files`. Independent of the domains."""

import json
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.types import DecoratedCallable
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import JsonSchemaValue
from starlette.datastructures import UploadFile

from app.errors import Problem, invalid
from app.http.gate import FORM, media_type
from app.refusals import json_fault
from terms.values import Json, JsonObject

Model = TypeVar("Model", bound=BaseModel)

MOST_PARTS = 40


@dataclass
class Form:
    """A form: its fields, and its files by name without folders."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def takes_files(endpoint: DecoratedCallable) -> DecoratedCallable:
    """Marks a route that accepts a form with files as its body; other routes accept only JSON (`app.http.access`)."""
    endpoint.__dict__["takes_files"] = True
    return endpoint


def is_form(request: Request) -> bool:
    """Returns whether the body is declared as a form with files."""
    return media_type(request.headers) == FORM


async def read_form(request: Request) -> Form:
    """Returns the form's fields and files; drops folders in file names. Raises Problem 422 for a name that occurs twice."""
    form = Form()
    async with request.form(max_files=MOST_PARTS, max_fields=MOST_PARTS) as parts:
        for name, part in parts.multi_items():
            if isinstance(part, UploadFile):
                bare = PurePosixPath((part.filename or name).replace("\\", "/")).name or name
                _once(form.files, bare, "file")
                form.files[bare] = await part.read()
            else:
                _once(form.fields, name, "field")
                form.fields[name] = part
    return form


def _once(seen: Container[str], name: str, what: str) -> None:
    if name in seen:
        raise invalid(f"/{name}", "duplicate_part", f"The form holds the {what} {name} twice. Send it once.")


async def read_json(request: Request, model: type[Model]) -> Model:
    """Returns the body as this model. Raises the same errors as FastAPI."""
    try:
        raw = await request.json() if await request.body() else None
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed_json", f"The body is not valid JSON: byte {error.start} is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise Problem(
            400, "malformed_json", f"The body is not valid JSON: at character {error.pos}, {json_fault(error.msg)}."
        ) from error
    except (ValueError, RecursionError) as error:  # for example a number with thousands of digits, or thousands of brackets
        raise Problem(
            400, "malformed_json", "The body holds a number with too many digits, or lists and objects nested too deeply."
        ) from error
    return checked(raw, model, strict=True)


def checked(raw: Json, model: type[Model], *, strict: bool = False) -> Model:
    """Returns the value as this model; `strict` for JSON, where a string is not accepted as a number. Raises FastAPI's error for an invalid
    body.
    """
    try:
        return model.model_validate(raw, strict=strict)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise RequestValidationError([{**failure, "loc": ("body", *failure["loc"])} for failure in errors], body=raw) from error


def described(model: type[BaseModel], form: dict[str, str], *, file: str, required: list[str]) -> JsonObject:
    """Returns the `openapi_extra` of a route that takes files: its JSON body, and its form's fields (`form`, with descriptions) and files."""
    body = _inlined(model.model_json_schema())
    parts: JsonObject = {
        name: {**_written(body["properties"].get(name, {"type": "string"})), "description": text} for name, text in form.items()
    }
    parts["files"] = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": file}
    schema = {"type": "object", "properties": parts, "required": [*required, "files"], "additionalProperties": False}
    content = {"application/json": {"schema": body}, FORM: {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _written(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Returns the schema of a field in a form, where every value is text."""
    kind = next(kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null")
    old = {"deprecated": True} if schema.get("deprecated") else {}
    if kind["type"] == "string":
        return {name: kind[name] for name in ("type", "enum", "const", "pattern", "minLength", "maxLength") if name in kind} | old
    return {"type": "string", "pattern": {"integer": r"^[0-9]{1,9}$", "array": r"^[0-9]{1,9}(,[0-9]{1,9})*$"}[kind["type"]]} | old


def _inlined(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Returns the schema with every reference replaced by its definition; our schemas are not recursive."""
    definitions = schema.pop("$defs", {})

    def resolved(node: Json) -> Json:
        if isinstance(node, dict):
            if "$ref" in node:
                merged = {**definitions[node["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in node.items() if k != "$ref"}}
                # two schemas with one title look like one type
                return resolved({k: v for k, v in merged.items() if k != "title"})
            return {name: resolved(value) for name, value in node.items()}
        return [resolved(inner) for inner in node] if isinstance(node, list) else node

    return {name: resolved(value) for name, value in schema.items()}
