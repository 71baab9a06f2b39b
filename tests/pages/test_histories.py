"""A job's page says in words why its last unfinished attempt ended, beside the number of the attempt."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.jobs import endings
from app.jobs.models import JobEvent
from app.jobs.transitions import note
from app.pages.histories import MOST, early_end
from app.pages.jobs import EVENTS
from terms.values import JsonObject
from tests.api.conftest import Running
from tests.api.lives import claim
from tests.pages.conftest import Person
from tests.pages.test_answers import job
from tests.pages.test_jobs import words

BEGAN = datetime(2026, 11, 30, 9, tzinfo=UTC)


def attempts(page: str) -> str:
    """What the page says between the time at which the job was made and with whom it is shared."""
    return re.search(r" UTC ?, (.*?) Private:", words(page))[1]


def test_the_page_says_why_the_last_unfinished_attempt_ended(api: Running, person: Callable[[], Person]) -> None:
    """Also where the history that it shows is full before that event: a long job has an event for each finished part."""
    ada = person()
    identifier = ada.submit()
    lease = claim(api.sessions)
    assert attempts(ada.get(f"/jobs/{identifier}").text) == "attempt 1."
    with api.sessions.begin() as session:
        for number in range(EVENTS):
            note(session, identifier, "cell", {"cell": f"step/{number}"})
        held = endings.still_held(session, identifier, lease.token)
        endings.lose(session, held, {"code": "worker_lost", "signal": "signal 9 (SIGKILL)"}, max_losses=3)
    died = "Attempt 1 ended early: its process died, signal 9 (SIGKILL)."
    assert attempts(ada.get(f"/jobs/{identifier}").text) == f"attempt 1. {died}"
    lease = claim(api.sessions)
    assert attempts(ada.get(f"/jobs/{identifier}").text) == f"attempt 2. {died}"
    with api.sessions.begin() as session:
        endings.requeue(session, identifier, lease.token, "yielded", {})
    claim(api.sessions)
    assert attempts(ada.get(f"/jobs/{identifier}").text) == "attempt 3. Attempt 2 ended early: it made way for another job."


@pytest.mark.parametrize(
    ("event", "data", "said"),
    [
        ("lost", {"code": "lease_expired", "worker": "b"}, "its worker fell silent"),
        ("interrupted", {"code": "drained", "signal": "signal 9 (SIGKILL)"}, "its worker was stopped or paused"),
        ("drained", {}, "its worker was stopped or paused"),
        ("deferred", {"because": "The judge j is away."}, "it was postponed: The judge j is away"),
        ("lost", {"code": "some_new_cause"}, "some new cause"),
    ],
)  # fmt: skip
def test_each_cause_has_its_words(event: str, data: JsonObject, said: str) -> None:
    seen = job("steer", attempt=2, started_at=BEGAN)
    ended = JobEvent(job_id=seen.id, seq=7, at=BEGAN - timedelta(minutes=1), type=event, data=data)
    assert early_end(seen, ended) == f"Attempt 1 ended early: {said}."
    ended.data = {"because": "x" * 1000}
    assert len(early_end(seen, ended)) == MOST + 3
