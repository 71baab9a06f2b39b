"""A job's events as lines that a person reads. Ids may stand here."""

import json
from collections.abc import Sequence

from app.jobs.models import JobEvent
from terms.values import Json, JsonObject

MOST = 300
"""Characters of an event's facts that are shown."""


def entries(events: Sequence[JobEvent]) -> list[JsonObject]:
    """When, what, and the facts."""
    return [{"at": event.at, "what": event.type.replace("_", " "), "facts": _facts(event.data)} for event in events]


def _facts(data: JsonObject) -> str:
    parts = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in data.items() if value is not None]
    text = ", ".join(parts)
    return text if len(text) <= MOST else f"{text[:MOST]}..."


def _value(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
