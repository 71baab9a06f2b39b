"""Response schemas of health and status."""

from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from app.devices.schemas import BlockedOut, HoldOut
from app.http.renamed import RenamedAnswer
from app.jobs.schemas import OLD_QUEUE, Queue, WaitReason
from terms.values import JsonField


class Check(BaseModel):
    """One thing the service needs."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether requests can be served. Without a broker the service is `degraded`: jobs start a little later."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, Check]


class WorkerOut(BaseModel):
    """A worker node as it last reported."""

    id: str
    job_class: str
    device: str
    host: str
    version: str
    models: list[str] = Field(description="models that are loaded")
    memory: JsonField
    busy_with: str | None = Field(description="the job it runs if you may see it, else `another`")
    seen_seconds_ago: float
    alive: bool = Field(description="seen within one lease")
    hold: HoldOut | None = Field(description="who paused or drained it, and until when")
    blocked: BlockedOut | None = Field(description="why it starts no jobs although no administrator paused it")


class QueueOut(BaseModel):
    """Unfinished jobs of one queue and model."""

    job_class: str
    queue: Queue
    lane: str = OLD_QUEUE
    model: str | None
    queued: int = Field(description="ready to run")
    waiting: int = Field(description="jobs that wait for other jobs")
    running: int
    oldest_seconds: float | None = Field(description="seconds that the oldest ready job has been queued")


class WaitingOut(RenamedAnswer):
    """A queued job that you may see: its position in the queue and why it waits."""

    job: str
    kind: str
    model: str | None
    name: str | None
    owner: str
    queue: Queue
    lane: str = OLD_QUEUE
    position: int | None = Field(validation_alias=AliasChoices("queue_position", "position"), description="1 is next")
    waits_because: WaitReason | None


class StatusOut(BaseModel):
    """The status board, which everyone with a key can see."""

    version: str
    auth: Literal["on", "off"]
    broker: Check
    listening: bool = Field(description="whether changes of jobs are noticed at once; otherwise within five seconds")
    waiting_requests: int = Field(description="requests and streams that wait for a job in the process that answers")
    workers: list[WorkerOut]
    queues: list[QueueOut]
    waiting: list[WaitingOut] = Field(description="queued jobs that you may see, the next ones first; 20 at most")
    versions: dict[str, str]
