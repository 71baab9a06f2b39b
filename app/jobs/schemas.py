"""The Job as the API shows it, and the fields that every request for a job shares."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.auth.sharing import Name as GroupName
from app.auth.sharing import Sharing
from app.auth.visibility import Visibility
from app.jobs.states import State
from app.text import Line
from terms.specs import SPECIAL_TOKENS, SpecialTokens
from terms.values import JsonField

Tag = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[\w.:/ -]+$")]


class Edge(BaseModel):
    """A job that must end first."""

    model_config = ConfigDict(extra="forbid", strict=True)

    job: str = Field(pattern=r"^job_[0-9a-z]{26}$", description="the job to wait for")
    needs: Literal["success", "end"] = Field("success", description="`success`: the job must succeed; `end`: it must end")


class JobRequest(Sharing):
    """Request fields that every submission shares."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=False)

    name: Line | None = Field(None, max_length=200, description="a name for the job")
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    notes: str | None = Field(None, max_length=5_000)
    webhook: Line | None = Field(None, max_length=100, description="the webhook to notify when the job ends (GET /v1/webhooks)")
    priority: int = Field(0, ge=-10, le=10, description="order among your own jobs; other users' jobs are not affected")
    after: list[Edge] = Field(default_factory=list, max_length=500, description="jobs that must end first")


class PromptedRequest(JobRequest):
    """Request fields shared by all submissions that give texts to a model."""

    special_tokens: SpecialTokens = Field(
        SPECIAL_TOKENS,
        description="how names of special tokens in prompts, system prompts and given responses are read: `markup`, "
        "as the tokens themselves, so that a text can open a turn; or `text`, as plain letters. Tokens of "
        "the chat template stay tokens",
    )


class JobEdit(BaseModel):
    """Changes to a job; a field that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=False)

    name: Line | None = Field(None, max_length=200, description="null removes the name")
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="all tags: they replace the current tags")
    notes: str | None = Field(None, max_length=5_000)
    webhook: Line | None = Field(
        None, max_length=100, description="the webhook to notify when the job ends; null sends no message"
    )
    keep: bool = Field(False, description="true: retention keeps its results, and those of the jobs it comes after")
    visibility: Visibility = Field("private", description="who may see the job and its results from now on")
    group: GroupName | None = Field(None, description="one of the owner's groups; only with the visibility `group`")


class Progress(BaseModel):
    """How far the current phase has come."""

    done: int
    total: int
    unit: str


class ArtifactOut(BaseModel):
    """A file of the result."""

    name: str
    size: int
    media_type: str
    sha256: str
    href: str


Queue = Annotated[
    Literal["model", "light", "generation"], Field(description="where it takes turns; generations go before other jobs of models")
]
OLD_POSITION = Field(description="the old name of `queue_position`", json_schema_extra={"deprecated": True})
OLD_QUEUE = Field(
    description="the old name of `queue`, in which generations are called `short`", json_schema_extra={"deprecated": True}
)


class WaitReason(BaseModel):
    """Why a job does not run, or does nothing yet."""

    code: str = Field(
        description="stable: after_jobs, backoff, no_worker_of_class, workers_held, no_disk_space, quota_running, turn_of_others, "
        "own_jobs_first, workers_busy, starting, model_loading"
    )
    detail: str = Field(description="the reason as a sentence, with the numbers")


class JobOut(BaseModel):
    """A job. `phase` and `progress` describe the current attempt; `attempt` counts starts; `queue_position` 1 is next."""

    id: str
    kind: str
    name: str | None
    tags: list[str]
    notes: str | None
    keep: bool = Field(description="true: retention keeps its results")
    results_removed_at: datetime | None = Field(description="when retention removed its files")
    webhook: str | None = Field(description="the webhook to notify when the job ends")
    state: State
    phase: str
    progress: Progress
    queue_position: int | None = Field(description="1 is next; null unless it is queued and ready to run")
    position: int | None = OLD_POSITION
    waiting_for: list[str] = Field(description="unfinished jobs that it comes after")
    waits_because: WaitReason | None = Field(
        description="why the job does not run; null unless it is queued or its worker is loading its model"
    )
    queue: Queue
    lane: str = OLD_QUEUE
    eta_at: datetime | None
    attempt: int
    losses: int
    warnings: list[str] = Field(description="what its submission warned of: the result will lack it")
    spec: JsonField
    model: str | None
    owner: str
    visibility: Visibility
    group: str | None = Field(description="the group it is shared with; null also if the group was deleted")
    priority: int
    retry_of: str | None
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    error: JsonField | None
    result: JsonField | None
    artifacts: list[ArtifactOut]
    metrics: JsonField
    links: dict[str, str]


class EventOut(BaseModel):
    """One entry of a job's history; `seq` counts from 1 without gaps."""

    seq: int
    at: datetime
    type: str
    data: JsonField
