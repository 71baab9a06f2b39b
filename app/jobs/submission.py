"""Data types of a submission: who asks, the validated request, its idempotency key, and the resulting job."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.schemas import Edge
from app.settings import Settings
from terms.specs import Spec
from terms.values import JsonObject

WARNED = "warned"
"""Type of the event that records a warning of the submission; these events follow the job's first event."""
MOST_WARNINGS = 20
"""Most warnings that are kept with one job."""


@dataclass(frozen=True)
class Idempotency:
    """An idempotency key: requests with equal keys mean one submission."""

    route: str
    key: str
    body_hash: str


@dataclass(frozen=True)
class Asker:
    """Who asks for a job, under which settings, and by which request."""

    viewer: Viewer
    settings: Settings
    promise: Idempotency | None = None
    request_id: str = ""

    def for_another_job(self) -> "Asker":
        """Returns the same asker without the idempotency key, to submit another job that the requested job needs."""
        return replace(self, promise=None)


@dataclass(frozen=True)
class Submission:
    """A validated request, ready to become a job. `spec` holds everything that the result depends on and nothing else.

    `after` may name jobs that `viewer` may see; without a viewer, only the owner's own jobs. No quota refuses an `unmetered` job: it
    follows from an admitted job, or the service itself submits it.
    """

    kind: str
    spec: Spec | JsonObject
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
    """The submitted job. `replayed`: an earlier request with the same idempotency key had already made it."""

    job: Job
    replayed: bool = False
