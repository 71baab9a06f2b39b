"""A job that fits in the memory of no device is refused at submission, with the arithmetic; one that fits by a byte is accepted.

The facts are those of a real inspection of a shipped model; the memory of the devices is set by the tests.
"""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.devices.models import Worker
from app.pages.forms.prices import Cost, price
from shipped import model_folder
from tests.api.conftest import Running
from tests.ml.fake_context import FakeContext
from workers.handlers import inspection
from workers.lm.loading import load
from workers.lm.memory import bytes_needed

NEW = 100


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """As an `inspect` job stores them."""
    folder = model_folder("demo-plain")
    spec = {"source": str(folder), "revision": None}
    found: dict[str, Any] = inspection.run(spec, FakeContext(load(folder))).result["facts"]  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def row() -> int:
    """Bytes that the worker predicts for the shortest prompt with NEW new tokens, from the model itself and not from the fixture `facts`."""
    found = bytes_needed(load(model_folder("demo-plain")), 1, 1, NEW)
    assert found is not None
    return found


@pytest.fixture
def small(api: Running, facts: dict[str, Any]) -> None:
    """Registers the model `small` with these facts."""
    api.add_model("small", facts=facts)


@pytest.fixture
def fleet(sessions: sessionmaker[Session]) -> Callable[..., None]:
    """Adds model workers, by name, with the memory that they report."""

    def set_up(**memory_of: dict[str, Any]) -> None:
        with sessions.begin() as session:
            for name, memory in memory_of.items():
                row = {"device": "cpu", "host": "here", "parent_pid": 1, "version": "test", "memory": memory}
                session.add(Worker(id=name, job_class="model", **row))

    return set_up


def holding(total: int) -> dict[str, Any]:
    """The report of a worker with this much device memory."""
    return {"budget": 1 << 33, "dtype": "float32", "device_total": total}


BODIES: list[tuple[str, dict[str, Any]]] = [("calibrations", {}), ("generations", {"prompts": ["Hello"], "vectors": []})]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("route", "body"), BODIES)
def test_a_row_that_no_device_can_hold_is_refused_at_its_new_tokens(
    ada: httpx2.Client, fleet: Callable[..., None], facts: dict[str, Any], row: int, route: str, body: dict[str, Any]
) -> None:
    weights = 4 * facts["n_parameters"]
    fleet(a=holding(weights + row - 1), b=holding(weights + row // 2))
    request = {"model": "small", "max_new_tokens": NEW, **body}
    for query in ("", "?dry_run=true"):
        answer = ada.post(f"/v1/{route}{query}", json=request)
        found = answer.json()
        assert (answer.status_code, found["code"]) == (422, "does_not_fit")
        assert [one["pointer"] for one in found["errors"]] == ["/max_new_tokens"]
    assert f"a: {facts['n_parameters']:,} parameters x 4 bytes (float32)" in found["detail"]
    assert f"one row of a prompt of 1 token and {NEW} new takes" in found["detail"]
    assert ada.post(f"/v1/{route}", json=request | {"max_new_tokens": 1}).status_code == 202, "a shorter row fits"


@pytest.mark.usefixtures("small")
def test_what_fits_one_device_by_a_byte_is_admitted_and_the_price_says_what_it_takes(
    ada: httpx2.Client, fleet: Callable[..., None], facts: dict[str, Any], row: int
) -> None:
    weights = 4 * facts["n_parameters"]
    fleet(a=holding(weights - 1), b=holding(weights + row))
    request = {"model": "small", "max_new_tokens": NEW}
    cost = ada.post("/v1/calibrations?dry_run=true", json=request).json()
    assert [(one["worker"], one["fits"], one["weights_bytes"], one["row_bytes"]) for one in cost["memory"]] == [
        ("a", False, weights, row),
        ("b", True, weights, row),
    ]
    [said] = [line for line in price(Cost.model_validate(cost)).lines if "Memory" in line]
    assert said.startswith("Memory on b: ")
    assert f"one row of a prompt of 1 token and {NEW} new" in said
    assert ada.post("/v1/calibrations", json=request).status_code == 202


@pytest.mark.usefixtures("small")
def test_weights_that_no_device_can_hold_are_refused_at_the_model(
    ada: httpx2.Client, fleet: Callable[..., None], facts: dict[str, Any]
) -> None:
    fleet(a=holding(4 * facts["n_parameters"] - 1))
    answer = ada.post("/v1/calibrations", json={"model": "small"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/model")
    assert "its device's memory is" in answer.json()["detail"]


@pytest.mark.usefixtures("small")
def test_nothing_is_refused_while_a_worker_has_not_said_what_it_has(ada: httpx2.Client, fleet: Callable[..., None]) -> None:
    fleet(a=holding(1), b={})
    assert ada.post("/v1/calibrations", json={"model": "small"}).status_code == 202


def test_facts_of_older_inspections_are_held_to_their_weights_alone(
    api: Running, ada: httpx2.Client, fleet: Callable[..., None], facts: dict[str, Any]
) -> None:
    """The row is refused when the job starts, as before."""
    old = {name: value for name, value in facts.items() if name != "room"}
    api.add_model("old", facts=old)
    fleet(a=holding(4 * facts["n_parameters"]))
    cost = ada.post("/v1/calibrations?dry_run=true", json={"model": "old"}).json()
    assert [(one["fits"], one["row_bytes"]) for one in cost["memory"]] == [(True, None)]
