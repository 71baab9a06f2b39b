"""The TypedDicts of the client's results have the same fields and types as the schemas in openapi.json."""

import json
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from binnacle import board, results

SCHEMAS = json.loads((Path(__file__).resolve().parents[2] / "openapi.json").read_text())["components"]["schemas"]
NAMES = {
    "Progress": "Progress",
    "WaitReason": "WaitReason",
    "TraitDetail": "TraitDetail",
    "TraitVersion": "TraitVersion",
    "Check": "Check",
}
"""Types with a schema of the same name; the schema of any other type is named with `Out` at the end."""
FILES = {"CalibrationFile", "Tables"}
"""Types of files, which openapi.json has no schema for; tests/client/test_examples.py reads such files from a service."""
TYPES = {name: one for part in (results, board) for name, one in vars(part).items() if is_typeddict(one) and name not in FILES}
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def of_the_type(hint: Any) -> str:
    """A Python type in the same words as `of_the_schema` uses."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return of_the_type(arguments[0])
    if origin is Literal:
        return f"one of {sorted(arguments)}"
    if origin is list:
        return f"list of {of_the_type(arguments[0])}"
    if origin is dict:
        return f"object of {of_the_type(arguments[1])}"
    if origin is UnionType or str(origin) == "typing.Union":
        return " or ".join(sorted(of_the_type(one) for one in arguments))
    return "anything" if hint is Any else PLAIN.get(hint) or str(hint.__name__)


def of_the_schema(schema: dict[str, Any]) -> str:
    """A JSON schema in words, such as `list of string or null`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"one of {sorted(SCHEMAS[name]['enum'])}" if "enum" in SCHEMAS[name] else NAMES.get(name, name.removesuffix("Out"))
    if "anyOf" in schema:
        return " or ".join(sorted(of_the_schema(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {sorted(schema['enum'])}"
    if schema.get("type") == "array":
        return f"list of {of_the_schema(schema['items'])}"
    if schema.get("type") == "object":
        more = schema.get("additionalProperties")
        return f"object of {of_the_schema(more) if isinstance(more, dict) else 'anything'}"
    return str(schema.get("type", "anything"))


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_result_has_the_fields_that_the_service_sends(name: str) -> None:
    """A field that a server adds, renames or makes optional shows here."""
    schema = SCHEMAS[name if name in NAMES else f"{name}Out"]
    hints = get_type_hints(TYPES[name], include_extras=True)
    fields = {field: one for field, one in schema["properties"].items() if not one.get("deprecated")}
    assert {field: of_the_type(hint) for field, hint in hints.items()} == {
        field: of_the_schema(one) for field, one in fields.items()
    }
    optional = {field for field, hint in hints.items() if get_origin(hint) is NotRequired}
    assert set(hints) - optional == set(schema["required"]) & set(fields)


def test_no_result_of_the_client_is_an_untyped_object() -> None:
    """A job, a calibration, a vector, a steering and a study are typed wherever a method returns them."""
    sources = (Path(results.__file__).parent / "parts").glob("*.py")
    found = [line for path in sources for line in path.read_text().splitlines() if re.search(r"-> .*dict\[str, Any\]", line)]
    assert found == []
    assert len(TYPES) > 25
