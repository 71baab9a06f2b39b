"""Types stored for every job: its error, and its state as other jobs read it."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.values import JsonObject


class ErrorFacts(TypedDict):
    """A job's error. `detail` says what happened and what to do; `facts` differ by `code`."""

    code: str
    detail: str
    facts: NotRequired[JsonObject]


class JobStanding(TypedDict):
    """A job's current state, for another job that reads its result."""

    state: str
    kind: str
    spec: JsonObject
    result: JsonObject | None
    error: ErrorFacts | None
