"""Webhook messages to a real server: signed, repeated when it fails, sent once per request, and without effect on the job."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.observability import configure_logging
from app.settings import Settings, WebhookSettings
from app.webhooks.messages import render
from tests.api.conftest import Running, submit
from tests.api.finishing import finish_everything
from tests.api.lives import claim, fail, succeed
from tests.api.receiver import Receiver
from tests.api.test_studies import STUDY

pytestmark = pytest.mark.own_application


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with short pauses between attempts."""
    quick = WebhookSettings(poll=0.1, timeout=6, backoff=0.1, attempts=3)
    return settings.model_copy(update={"webhook": quick, "public_url": "https://binnacle.lab/"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def secret(admin: httpx2.Client, receiver: Receiver) -> str:
    """The secret of the webhook `room`, which leads to the receiver."""
    return allow(admin, "room", receiver.url())["secret"]


def allow(admin: httpx2.Client, name: str, url: str, **more: Any) -> dict[str, Any]:
    """Adds a webhook."""
    made = admin.post("/v1/webhooks", json={"name": name, "url": url, **more})
    assert made.status_code == 201, made.text
    return dict(made.json())


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} seconds"
        time.sleep(0.02)


def delivery(client: httpx2.Client, state: str = "delivered", **filters: str) -> dict[str, Any]:
    """The only delivery in the list, once it is in this state."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = client.get("/v1/deliveries", params=filters).json()["items"]
        return [one["state"] for one in found] == [state]

    wait_until(there)
    return found[0]


def test_the_end_of_a_job_is_sent_once_and_signed(
    api: Running, ada: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada, name="sweep <!channel> & more", webhook="room", prompts=["a secret prompt"])
    assert job["webhook"] == "room"
    assert ada.get("/v1/deliveries").json()["items"] == []
    succeed(sessions, api.context.storage, claim(sessions))
    log = delivery(ada)
    [message] = receiver.messages
    assert (message.path, message.headers["Host"]) == ("/hook?room=1", f"127.0.0.1:{receiver.port}")
    assert message.headers["Binnacle-Delivery"] == log["id"] == message.json["delivery"]
    assert message.signed_with(secret)
    assert not message.signed_with("whsec_another")
    assert not message.signed_with(secret, now=10**10), "an old message cannot be replayed"
    told = message.json
    assert (told["event"], told["job"]["id"], told["job"]["state"]) == ("job.finished", job["id"], "succeeded")
    assert told["job"]["finished_at"] is not None
    assert told["text"] == (
        "calibrate “sweep &lt;!channel&gt; &amp; more” on demo of ada succeeded. "
        f"<https://binnacle.lab/v1/jobs/{job['id']}|{job['id']}>"
    )
    assert b"a secret prompt" not in message.body
    assert (log["webhook"], log["job"], log["attempts"], log["status"], log["error"]) == ("room", job["id"], 1, 200, None)


def test_a_failure_is_sent_with_its_reason_and_a_cancellation_too(
    ada: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    submit(ada, webhook="room")
    fail(sessions, claim(sessions))
    wait_until(lambda: len(receiver.messages) == 1)
    assert receiver.messages[0].json["job"]["error"] == {"code": "broken", "detail": "It broke. Mend it."}
    assert "failed. broken: It broke. Mend it." in receiver.messages[0].json["text"]
    ada.post(submit(ada, webhook="room")["links"]["cancel"])
    wait_until(lambda: len(receiver.messages) == 2)
    assert receiver.messages[1].json["job"]["state"] == "cancelled"
    assert receiver.messages[1].signed_with(secret)


def test_jobs_without_a_webhook_send_no_message(
    api: Running, ada: httpx2.Client, secret: str, sessions: sessionmaker[Session]
) -> None:
    submit(ada)
    succeed(sessions, api.context.storage, claim(sessions))
    assert ada.get("/v1/deliveries").json()["items"] == []


def test_a_request_that_a_finished_job_answers_is_sent_once_for_its_key(
    api: Running, ada: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    """A request with a webhook gets a message also if its job had ended; a request that is repeated under its key gets one."""
    job = submit(ada, visibility="public")
    succeed(sessions, api.context.storage, claim(sessions))
    with api.client("bob") as bob:
        ask = {"model": "demo", "webhook": "room"}
        assert bob.post("/v1/calibrations?reuse=true", json={"model": "demo"}).status_code == 200
        assert bob.post("/v1/calibrations?reuse=true&dry_run=true", json=ask).status_code == 200
        assert bob.get("/v1/deliveries").json()["items"] == []
        answers: list[httpx2.Response] = []

        def repeat() -> None:
            answers.append(bob.post("/v1/calibrations?reuse=true", json=ask, headers={"Idempotency-Key": "one"}))

        threads = [threading.Thread(target=repeat) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        repeat()
        assert {(one.status_code, one.headers.get("Binnacle-Reused")) for one in answers} == {(200, job["id"])}
        log = delivery(bob, job=job["id"])
        assert (log["webhook"], log["job"]) == ("room", job["id"])
        bob.post("/v1/calibrations?reuse=true", json=ask, headers={"Idempotency-Key": "another"})
        bob.post("/v1/calibrations?reuse=true", json=ask)
        wait_until(lambda: len(receiver.messages) == 3)
    assert {one.json["job"]["id"] for one in receiver.messages} == {job["id"]}
    assert len({one.json["delivery"] for one in receiver.messages}) == 3
    assert all(one.json["job"]["state"] == "succeeded" and one.signed_with(secret) for one in receiver.messages)


def test_a_study_that_a_finished_one_answers_is_sent_too_and_its_dry_run_is_not(
    api: Running, ada: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    made = ada.post("/v1/studies", json=STUDY)
    finish_everything(sessions, api.context.storage)
    ask = {**STUDY, "webhook": "room"}
    for _ in range(2):
        dry = ada.post("/v1/studies?reuse=true&dry_run=true", json=ask)
        assert (dry.status_code, dry.json()["reused"]) == (200, 6)
        again = ada.post("/v1/studies?reuse=true", json=ask, headers={"Idempotency-Key": "once"})
        assert (again.status_code, again.headers.get("Binnacle-Reused")) == (200, made.json()["id"]), again.text
    assert delivery(ada)["job"] == made.json()["id"]
    assert [one.json["job"]["kind"] for one in receiver.messages] == ["report"]


@pytest.mark.parametrize(("fault", "status"), [(500, 500), (503, 503), (429, 429), ("hang up", None), (("sleep", 9), None)])
def test_a_receiver_that_fails_is_tried_again_with_the_same_message(
    admin: httpx2.Client, secret: str, receiver: Receiver, fault: Any, status: int | None
) -> None:
    receiver.answers = [fault]
    assert admin.post("/v1/webhooks/room/test").status_code == 202
    log = delivery(admin)
    assert (log["attempts"], log["status"], log["job"]) == (2, 200, None)
    first, second = receiver.messages
    assert first.body == second.body
    assert first.headers["Binnacle-Delivery"] == second.headers["Binnacle-Delivery"]
    assert second.signed_with(secret)


def test_a_receiver_that_stays_down_is_given_up_and_the_log_says_why(
    admin: httpx2.Client, secret: str, receiver: Receiver
) -> None:
    receiver.answers = [502] * 10
    admin.post("/v1/webhooks/room/test")
    log = delivery(admin, "failed")
    assert (log["attempts"], log["status"], log["error"], log["next_at"]) == (3, 502, "502 Bad Gateway", None)
    assert log["finished_at"] is not None
    assert len(receiver.messages) == 3
    pauses = [later.at - sooner.at for sooner, later in zip(receiver.messages, receiver.messages[1:], strict=False)]
    assert pauses[1] > 0.4, "each pause is longer than the one before: 0.1 s, then 0.6 s, less a fifth at most"


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_permanent_refusal_ends_the_delivery(admin: httpx2.Client, secret: str, receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    admin.post("/v1/webhooks/room/test")
    assert delivery(admin, "failed")["attempts"] == 1


def test_an_unreachable_receiver_does_not_affect_the_job(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, unused_port: int, sessions: sessionmaker[Session]
) -> None:
    allow(admin, "gone", f"http://127.0.0.1:{unused_port}/")
    job = submit(ada, webhook="gone")
    succeed(sessions, api.context.storage, claim(sessions))
    assert ada.get(job["links"]["self"]).json()["state"] == "succeeded"
    log = delivery(ada, "failed", job=job["id"])
    assert (log["attempts"], log["status"]) == (3, None)
    assert log["error"].startswith("ConnectError")


def test_a_webhook_deleted_meanwhile_gets_no_message_and_the_job_ends_all_the_same(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada, webhook="room")
    assert admin.delete("/v1/webhooks/room").status_code == 204
    fail(sessions, claim(sessions))
    assert ada.get(job["links"]["self"]).json()["state"] == "failed"
    again = ada.post(f"{job['links']['self']}/retry").json()
    assert (again["state"], again["webhook"]) == ("queued", None)
    assert (receiver.messages, admin.get("/v1/deliveries").json()["items"]) == ([], [])


def test_a_delivery_is_made_again_after_its_sender_died(
    admin: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    """Taken by a process that never came back: due again when its time is over, as the second attempt."""
    taken_again = threading.Event()
    receiver.answers = [("after", taken_again)]  # the sending takes longer than its lease is made to last
    admin.post("/v1/webhooks/room/test")
    wait_until(lambda: len(receiver.messages) == 1)
    with sessions.begin() as session:
        session.execute(text("UPDATE webhook_deliveries SET next_at = now(), attempts = attempts + 1"))
    taken_again.set()
    log = delivery(admin)
    assert log["attempts"] == 3, "what the first sender learned too late changed nothing"
    assert len(receiver.messages) == 2


def test_a_webhook_can_be_added_to_a_running_job_and_not_to_a_finished_one(
    ada: httpx2.Client, secret: str, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    path = submit(ada)["links"]["self"]
    lease = claim(sessions)
    assert ada.patch(path, json={"webhook": "room"}).json()["webhook"] == "room"
    assert ada.patch(path, json={"webhook": "nope"}).json()["code"] == "unknown_webhook"
    fail(sessions, lease)
    delivery(ada)
    assert ada.patch(path, json={"webhook": None}).json()["code"] == "job_finished"
    assert len(receiver.messages) == 1


def test_only_administrators_change_webhooks_and_see_their_addresses(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, secret: str, receiver: Receiver
) -> None:
    """The address of a chat room is a secret."""
    assert ada.post("/v1/webhooks", json={"name": "x", "url": "https://x.example"}).status_code == 403
    assert ada.delete("/v1/webhooks/room").status_code == 403
    assert ada.post("/v1/webhooks/room/test").status_code == 403
    [seen], [known] = (client.get("/v1/webhooks").json()["items"] for client in (ada, admin))
    assert (seen["name"], seen["host"], seen["url"]) == ("room", "127.0.0.1", None)
    assert known["url"] == receiver.url()
    assert secret not in admin.get("/v1/webhooks").text
    with api.sessions() as session:
        stored = session.execute(text("SELECT * FROM webhook_targets")).one()
    assert secret not in str(stored)
    refused = ada.post("/v1/calibrations", json={"model": "demo", "webhook": "rom"}).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("unknown_webhook", "/webhook")
    assert "room" in refused["detail"]
    assert admin.post("/v1/webhooks", json={"name": "room", "url": "https://x.example"}).json()["code"] == "webhook_exists"


def test_no_address_of_a_target_gets_into_the_logs(admin: httpx2.Client, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The HTTP library would tell each address it calls."""
    before = logging.getLogger().handlers, logging.getLogger().level
    configure_logging()
    try:
        admin.post("/v1/webhooks/room/test")
        delivery(admin)
        seen: list[str] = []
        wait_until(lambda: seen.append(capsys.readouterr().err) or "webhook.sent" in "".join(seen))  # type: ignore[func-returns-value]
        assert "/hook" not in "".join(seen)
    finally:
        logging.getLogger().handlers, _ = before
        logging.getLogger().setLevel(before[1])


def test_allowing_trying_and_removing_a_target_is_in_the_audit_without_its_address(
    admin: httpx2.Client, secret: str, receiver: Receiver
) -> None:
    assert admin.post("/v1/webhooks/room/test").status_code == 202
    admin.delete("/v1/webhooks/room")
    answer = admin.get("/v1/audit")
    assert [one["action"] for one in answer.json()["items"] if one["object"] == "room"] == [
        "webhook.delete",
        "webhook.test",
        "webhook.add",
    ]
    assert secret not in answer.text
    assert "/hook" not in answer.text


def test_deliveries_are_seen_by_those_who_see_the_job(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, secret: str, sessions: sessionmaker[Session]
) -> None:
    submit(ada, webhook="room")
    fail(sessions, claim(sessions))
    admin.post("/v1/webhooks/room/test")
    wait_until(lambda: len(admin.get("/v1/deliveries", params={"state": "delivered"}).json()["items"]) == 2)
    assert len(ada.get("/v1/deliveries").json()["items"]) == 1
    with api.client("bob") as bob:
        assert bob.get("/v1/deliveries").json()["items"] == []
    first = admin.get("/v1/deliveries", params={"limit": 1}).json()
    second = admin.get("/v1/deliveries", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert (first["items"][0]["job"], second["next_cursor"]) == (None, None)


def test_a_name_in_a_message_is_one_line_of_text_in_every_chat_room() -> None:
    """Slack's commands and links, Markdown's, mentions, line breaks and bidi characters."""
    hostile = "a\nb <!channel> @all [x](http://evil.example) \u202e\u009b"
    job = {"id": "job_1", "href": "/v1/jobs/job_1", "kind": "calibrate", "name": hostile, "model": "m", "owner": "ada@lab", "state": "failed",
           "error": {"code": "x", "detail": hostile}}  # fmt: skip
    body = json.loads(render({"event": "job.finished", "job": job}, "whd_1", "https://binnacle.lab"))
    said = body["text"].removesuffix("<https://binnacle.lab/v1/jobs/job_1|job_1>")
    assert not any(mark in said for mark in ("\n", "<", ">", "@all", "@lab", "](", "\u202e", "\u009b"))
    assert "&lt;!channel&gt;" in said
    assert body["job"]["name"] == hostile
