"""What a submission is: a request found possible, the promise it was made under, and the job that came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.schemas import Edge

WARNED = "warned"
"""The event of a warning of the submission; these follow a job's first event."""
MOST_WARNINGS = 20
"""Kept with one job."""


@dataclass(frozen=True)
class Idempotency:
    """A client's promise that equal keys mean one submission."""

    route: str
    key: str
    body_hash: str


@dataclass(frozen=True)
class Submission:
    """A validated request, ready to become a job. `spec` holds all that the result depends on and nothing else.

    `after` may name what `viewer` may see; without a viewer, the owner's own jobs alone. An `unmetered` job follows from one that was
    admitted, or is the service's own doing: no quota refuses it.
    """

    kind: str
    spec: dict[str, Any]
    owner: str
    job_class: str
    model: str | None = None
    after: Sequence[Edge] = ()
    viewer: Viewer | None = None
    name: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    webhook: str | None = None
    priority: int = 0
    max_seconds: float = 6 * 3600
    stall_seconds: float = 600
    request_id: str | None = None
    retry_of: str | None = None
    unmetered: bool = False
    idempotency: Idempotency | None = None
    sharing: Sharing = field(default_factory=Sharing)
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Submitted:
    """The job, and whether it was there already under the same idempotency key."""

    job: Job
    replayed: bool = False
