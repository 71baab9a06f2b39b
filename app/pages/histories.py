"""Shows a job's events as readable lines, and in words how its last unfinished attempt ended. Ids may appear here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.jobs.models import JobEvent
from app.jobs.schemas import JobOut
from terms.values import Json, JsonObject

MOST = 300
"""Most characters shown of an event's facts."""
_ENDS = {
    "worker_lost": "its process died",
    "lease_expired": "its worker fell silent",
    "lease_not_renewed": "its process fell silent and was stopped",
    "stalled": "it made no progress and was stopped",
    "abandoned": "its process gave it up",
    "database_outage": "the database could not be reached",
    "database_unreachable": "the database could not be reached",
    "drained": "its worker was stopped or paused",
    "yielded": "it made way for another job",
    "deferred": "it was postponed",
}


@dataclass(frozen=True)
class Entry:
    """Time, type and facts of an event."""

    at: datetime
    what: str
    facts: str


def entries(events: Sequence[JobEvent]) -> list[Entry]:
    """Returns the events in words."""
    return [Entry(event.at, event.type.replace("_", " "), _facts(event.data)) for event in events]


def early_end(job: JobOut, event: JobEvent) -> str:
    """Returns which attempt returned the job to the queue, and why: `Attempt 1 ended early: its process died, signal 9 (SIGKILL).`"""
    attempt = job.attempt - 1 if job.started_at is not None and event.at < job.started_at else job.attempt
    code = str(event.data.get("code", event.type))
    text = f"Attempt {attempt} ended early: {_ENDS.get(code, code.replace('_', ' '))}"
    if code == "worker_lost" and "signal" in event.data:
        text += f", {event.data['signal']}"
    if "because" in event.data:
        text += f": {event.data['because']}"
    text = _cut(text)
    return text if text.endswith(".") else f"{text}."


def _facts(data: JsonObject) -> str:
    parts = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in data.items() if value is not None]
    return _cut(", ".join(parts))


def _cut(text: str) -> str:
    return text if len(text) <= MOST else f"{text[:MOST]}..."


def _value(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
