"""The states of a job and the allowed transitions. Only this module decides which transitions exist."""

from enum import StrEnum


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ARROWS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING, State.CANCELLED, State.QUEUED}),
    State.CANCELLING: frozenset({State.CANCELLED, State.SUCCEEDED, State.FAILED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}

HELD = frozenset({State.RUNNING, State.CANCELLING})
"""States in which a worker holds a lease on the job."""

FINISHED = frozenset(state for state, onward in ARROWS.items() if not onward)
"""Final states: no transition leaves them."""
