"""One call makes one job although answers get lost, and a refused submission names the field at fault."""

import socket
from typing import Any

import pytest

from binnacle import Client, ServiceError, Unreachable
from tests.api.conftest import Running
from tests.client.wire import Wire, lost_answer


def test_a_lost_answer_makes_no_second_job(far: Client, client: Client, wire: Wire) -> None:
    """The client repeats the request; its idempotency key prevents a second job."""
    wire.faults = [lost_answer(), lost_answer()]
    job = far.calibrate("demo")
    assert len(wire.connections) == 3
    assert [found["id"] for found in client.jobs()] == [job["id"]]


def test_two_calls_make_two_jobs(client: Client) -> None:
    assert client.calibrate("demo")["id"] != client.calibrate("demo")["id"]


def test_a_retry_whose_answer_was_lost_makes_one_new_job(far: Client, client: Client, wire: Wire) -> None:
    job = client.cancel(client.calibrate("demo"))
    wire.faults = [lost_answer()]
    again = far.retry(job)
    assert len(wire.connections) == 2
    assert again["retry_of"] == job["id"]
    assert sorted(found["id"] for found in client.jobs()) == sorted([job["id"], again["id"]])


def test_cancelling_a_cancelled_job_changes_nothing(far: Client, client: Client, wire: Wire) -> None:
    job = client.calibrate("demo")
    wire.faults = [lost_answer()]
    assert far.cancel(job)["state"] == "cancelled"
    assert len(wire.connections) == 2
    assert client.cancel(job["id"])["state"] == "cancelled"


def test_registering_a_model_is_not_repeated_after_a_lost_answer(api: Running, wire: Wire) -> None:
    """The request has no idempotency key; a repeat would report the success of the first as a conflict."""
    wire.faults = [lost_answer()]
    with Client(wire.url, api.key("root", "admin")) as admin, pytest.raises(Unreachable):
        admin.add_model("other", "/models/other")
    assert len(wire.connections) == 1


def test_a_dry_run_makes_nothing_and_says_what_it_would_cost(client: Client) -> None:
    cost = client.calibrate("demo", prompts=["a", "b"], max_new_tokens=3, dry_run=True)
    assert cost["generated_tokens"] == 6
    assert list(client.jobs()) == []


def test_a_refusal_names_the_field_the_code_and_the_request(client: Client) -> None:
    with pytest.raises(ServiceError) as refused:
        client.calibrate("demo", layers=[-1], colour="red")
    error = refused.value
    assert error.status == 422
    assert {field["pointer"] for field in error.errors} == {"/layers/0", "/colour"}
    assert error.request_id is not None
    assert all(part in str(error) for part in (error.code, "/layers/0", "/colour", error.request_id))


@pytest.mark.parametrize("vectors", ["vec_1", {"id": "vec_1"}, ["vec_1"], [{"id": "vec_1"}]])
def test_one_vector_may_be_named_without_a_list(client: Client, vectors: Any) -> None:
    with pytest.raises(ServiceError) as refused:
        client.generate("demo", "a", vectors=vectors)
    assert [error["pointer"] for error in refused.value.errors] == ["/vectors/0"]


def test_an_unknown_kind_of_job_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(ValueError, match="calibrate"):
        client.submit("devour", model="demo")


def test_a_wrong_key_raises_401(api: Running) -> None:
    with Client(api.url, "bnk_nonsense") as client, pytest.raises(ServiceError) as refused:
        client.status()
    assert refused.value.status == 401


def test_an_absent_service_is_unreachable_once_patience_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        free = reserved.getsockname()[1]
    with Client(f"http://127.0.0.1:{free}", patience=0.5) as client, pytest.raises(Unreachable, match="binnacle up"):
        client.status()


def test_every_page_of_a_long_list_is_fetched_once(client: Client) -> None:
    """More jobs than one page holds, and a limit in the middle of a page."""
    made = {client.calibrate("demo", tags=[f"n{number % 2}"])["id"] for number in range(7)}
    assert {job["id"] for job in client.jobs()} == made
    assert len(list(client.jobs(limit=3))) == 3
    assert len(list(client.jobs(tag="n1"))) == 3
