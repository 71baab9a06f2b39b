"""Shows a job's events as readable lines. Ids may appear here."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.jobs.models import JobEvent
from terms.values import Json, JsonObject

MOST = 300
"""Most characters shown of an event's facts."""


@dataclass(frozen=True)
class Entry:
    """Time, type and facts of an event."""

    at: datetime
    what: str
    facts: str


def entries(events: Sequence[JobEvent]) -> list[Entry]:
    """Returns the events in words."""
    return [Entry(event.at, event.type.replace("_", " "), _facts(event.data)) for event in events]


def _facts(data: JsonObject) -> str:
    parts = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in data.items() if value is not None]
    text = ", ".join(parts)
    return text if len(text) <= MOST else f"{text[:MOST]}..."


def _value(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
