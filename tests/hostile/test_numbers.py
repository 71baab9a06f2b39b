"""Numbers that are not finite, overflow or are odd, in every numeric field of every body and in every query: refused or taken, never a 500."""

import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.api.process import ApiProcess
from tests.hostile.conftest import refused
from tests.hostile.routes import address, operations, placed, resolved, schema_of, without_effect
from tests.hostile.test_strings import CHANGING, JSON, QUERIES, a_body

MARK = "\u2603"
"""Stands for the number until the body is text: `json` would not write some of these numbers."""
ENDLESS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400 + ".0")
"""Not finite, or not once they are read as a float."""
ODD = (
    "9" * 400,
    "-" + "9" * 400,
    "1e308",
    "-1e308",
    "1e-400",
    "-0.0",
    "true",
    "false",
    "1.5",
    '"1"',
    "9223372036854775808",
    "18446744073709551616",
)


def numbers(schema: dict[str, Any], at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every number, and of every value that may be anything."""
    schema = resolved(schema)
    found = [one for part in ("anyOf", "oneOf", "allOf") for inner in schema.get(part, ()) for one in numbers(inner, at)]
    if schema.get("type") in ("number", "integer"):
        found.append(at)
    elif schema.get("type") == "array":
        found += numbers(schema.get("items", {}), (*at, 0))
    elif schema.get("type") == "object":
        found += [one for name, inner in schema.get("properties", {}).items() for one in numbers(inner, (*at, name))]
        if schema.get("additionalProperties") is True:
            found.append((*at, "value"))
    return found


WITH_NUMBERS = [one for one in CHANGING if numbers(schema_of(one[2]))]


@pytest.mark.parametrize(("method", "path", "told"), WITH_NUMBERS, ids=[f"{method} {path}" for method, path, _ in WITH_NUMBERS])
def test_no_number_in_a_body_causes_a_server_error(
    api: ApiProcess, admin: httpx2.Client, method: str, path: str, told: dict[str, Any]
) -> None:
    """A number that is not finite is refused with its pointer; an odd one is refused or taken."""
    schema = schema_of(told)
    for place in dict.fromkeys(numbers(schema)):
        body = json.dumps(placed(schema, a_body(told), place, MARK), ensure_ascii=False)
        assert body.count(f'"{MARK}"') == 1
        for number in (*ENDLESS, *ODD):
            content = body.replace(f'"{MARK}"', number).encode()
            answer = admin.request(method, address(path), content=content, headers=JSON, params=without_effect(told))
            if number in ENDLESS:
                problem = refused(answer, 422)
                assert problem["errors"][0]["code"] == "not_finite", problem
                assert problem["errors"][0]["pointer"].startswith(f"/{place[0]}"), problem
            elif answer.status_code >= 300:
                refused(answer, 400, 403, 404, 409, 422)


@pytest.mark.parametrize("value", ENDLESS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_a_methods_parameter_that_is_not_finite_is_refused_in_every_encoding(
    api: ApiProcess, admin: httpx2.Client, value: str, encoding: str
) -> None:
    body = f'{{"model":"demo","trait":"refusal","methods":[{{"method":"gradient","steps":{value}}}]}}'
    found = refused(admin.post("/v1/extractions?dry_run=true", content=body.encode(encoding), headers=JSON), 422)
    assert found["errors"][0]["pointer"] == "/methods/0/steps"


@pytest.mark.parametrize(
    "name", ["gradient__steps1e400", "gradient__steps-1e400", "probe__c1e999", "shuffled__of-probe__seed1e400"]
)
def test_a_number_in_a_methods_name_must_be_finite(api: ApiProcess, admin: httpx2.Client, name: str) -> None:
    body = {"model": "demo", "trait": "refusal", "methods": [name]}
    assert "finite" in refused(admin.post("/v1/extractions?dry_run=true", json=body), 422)["detail"]


@pytest.mark.parametrize(
    "value", ["NaN", "nan", "Infinity", "-inf", "1e400", "-1e400", "9" * 400, "1e308", "-1e308", "true", "\uff11", "1_0"]
)
def test_no_number_in_a_query_causes_a_server_error(api: ApiProcess, admin: httpx2.Client, value: str) -> None:
    for path, name in QUERIES:
        answer = admin.get(f"{address(path)}?{name}={quote(value)}")
        if answer.status_code >= 300:
            refused(answer)


def test_the_tests_above_have_operations_to_ask() -> None:
    assert len(WITH_NUMBERS) >= 12
    assert len(list(operations())) > 60
