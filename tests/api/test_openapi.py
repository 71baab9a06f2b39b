"""The committed description is the application's own, and tells the truth about errors."""

import json
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
    committed["info"].pop("version"), told["info"].pop("version")
    assert told == committed, "openapi.json has drifted: run `python -m app.openapi` and commit it"


def test_it_is_served_as_committed(api: Running, document: dict[str, Any]) -> None:
    assert httpx2.get(f"{api.url}/openapi.json", timeout=60).json() == json.loads(json.dumps(document))


def test_every_operation_has_a_name_a_summary_and_its_errors(document: dict[str, Any]) -> None:
    found = operations(document)
    names = [told["operationId"] for _, _, told in found]
    assert len(set(names)) == len(names) > 15
    for method, path, told in found:
        assert told["summary"], path
        assert told["tags"], path
        if not path.startswith("/v1"):
            assert "security" not in told
            continue
        assert told["security"] == [{"key": []}], path
        expected = {"401", "503"} | ({"403"} if method in ("post", "delete") else set()) | ({"404"} if "{" in path else set())
        expected |= {"400", "413", "415", "422"} if "requestBody" in told else set()
        expected |= {"422"} if told.get("parameters") else set()
        assert expected <= set(told["responses"]), (method, path)
        for status, answer in told["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    wanted = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert wanted <= set(schemas)
    assert {"HTTPValidationError", "ValidationError"}.isdisjoint(schemas)
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_the_examples_are_accepted(api: Running, ada: httpx2.Client, document: dict[str, Any]) -> None:
    api.add_model("demo-severe")
    examples = document["paths"]["/v1/calibrations"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        assert ada.post("/v1/calibrations", json=example["value"]).status_code == 202
