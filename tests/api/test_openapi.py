"""openapi.json is the application's own description; it names each operation's errors, and its references, limits and examples are valid."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from app.main import create_app
from app.openapi import FILE
from app.settings import Settings
from tests.api.conftest import Running

METHODS = {"get", "post", "delete", "put", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, told) for path, item in document["paths"].items() for method, told in item.items() if method in METHODS
    ]


def test_the_committed_description_is_the_applications(document: dict[str, Any]) -> None:
    committed = json.loads(FILE.read_text())
    told = json.loads(json.dumps(document))
    del committed["info"]["version"], told["info"]["version"]
    assert told == committed, "openapi.json has drifted: run `python -m app.openapi` and commit it"


def test_it_is_served_as_committed(api: Running, document: dict[str, Any]) -> None:
    assert httpx2.get(f"{api.url}/openapi.json", timeout=120).json() == json.loads(json.dumps(document))


def test_every_operation_has_a_name_a_summary_and_its_errors(document: dict[str, Any]) -> None:
    found = operations(document)
    names = [told["operationId"] for _, _, told in found]
    assert len(set(names)) == len(names) > 15
    for method, path, told in found:
        assert told["summary"], path
        assert told["tags"], path
        if not path.startswith("/v1"):
            assert told["security"] == []
            continue
        assert told["security"] == [{"key": []}], path
        expected = {"401", "503"} | ({"403"} if method in ("post", "delete") else set()) | ({"404"} if "{" in path else set())
        expected |= {"400", "413", "415", "422"} if "requestBody" in told else set()
        expected |= {"422"} if told.get("parameters") else set()
        assert expected <= set(told["responses"]), (method, path)
        for status, answer in told["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)


def test_every_operation_that_makes_a_job_says_that_location_names_it(document: dict[str, Any]) -> None:
    accepted = {told["operationId"]: told["responses"].get("202", {}) for _, _, told in operations(document)}
    makers = {name: answer for name, answer in accepted.items() if "cancelJob" in answer.get("links", {})}
    assert len(makers) > 10
    assert {name for name, answer in makers.items() if "Location" not in answer.get("headers", {})} <= {"cancelJob"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    wanted = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert wanted <= set(schemas)
    assert {"HTTPValidationError", "ValidationError"}.isdisjoint(schemas)
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


UNKNOWN_WORDS = ("ge", "le", "gt", "lt", "multiple_of", "min_length", "max_length")
"""Words of pydantic that no JSON Schema knows: a limit that clients and generators do not see."""


def schemas(value: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in it with its JSON pointer, except maps from names to schemas."""
    if isinstance(value, dict):
        if not pointer.endswith(("/properties", "/example", "/value", "/$defs")):
            yield pointer, value
        for key, inner in value.items():
            yield from schemas(inner, f"{pointer}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from schemas(inner, f"{pointer}/{number}")


def test_every_limit_is_written_in_words_of_json_schema(document: dict[str, Any]) -> None:
    assert [pointer for pointer, schema in schemas(document) if set(UNKNOWN_WORDS) & schema.keys()] == []
    limit = next(one for one in document["paths"]["/v1/jobs"]["get"]["parameters"] if one["name"] == "limit")
    assert limit["schema"]["minimum"] == 1


def test_it_names_its_server_its_licence_and_every_tag(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["/"]
    assert document["info"]["license"]["identifier"] == "Apache-2.0"
    assert {tag for _, _, told in operations(document) for tag in told["tags"]} == {tag["name"] for tag in document["tags"]}


def test_the_examples_are_accepted(api: Running, ada: httpx2.Client, document: dict[str, Any]) -> None:
    api.add_model("demo-severe")
    examples = document["paths"]["/v1/calibrations"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        assert ada.post("/v1/calibrations", json=example["value"]).status_code == 202


def examples(told: dict[str, Any]) -> list[Any]:
    """Example bodies of an operation that takes JSON."""
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    shown = [one["value"] for one in content.get("examples", {}).values()]
    return [*shown, *content.get("schema", {}).get("examples", [])]


def numbers(value: Any, pointer: str = "") -> Iterator[str]:
    """JSON pointers of all numbers in it."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(inner, f"{pointer}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield pointer


def with_leaf(value: Any, pointer: str, leaf: Any) -> Any:
    """A copy with this leaf at the pointer."""
    copy = json.loads(json.dumps(value))
    *way, last = [int(step) if step.isdigit() else step for step in pointer.split("/")[1:]]
    inner = copy
    for step in way:
        inner = inner[step]
    inner[last] = leaf
    return copy


def test_no_number_of_a_body_may_be_a_boolean_or_a_string(admin: httpx2.Client, document: dict[str, Any]) -> None:
    """Otherwise a client's `true` by mistake would be a limit of 1, or 1 day after which results are deleted."""
    tried = 0
    for method, path, told in operations(document):
        for body in examples(told):
            for pointer in numbers(body):
                if "/methods/" in pointer:  # parameters of a method: read when it is known which (tests/terms)
                    continue
                for leaf in (True, str(1)):
                    answer = admin.request(method.upper(), re.sub("{.*?}", "nobody", path), json=with_leaf(body, pointer, leaf))
                    assert answer.status_code == 422, (method, path, pointer, leaf, answer.text)
                    assert pointer in {error["pointer"] for error in answer.json()["errors"]}, (method, path, pointer)
                    tried += 1
    assert tried > 40
