"""Types of the service's answers about itself, its models and its workers; see `binnacle.results`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from binnacle import results
from binnacle.results import WaitReason


class Model(TypedDict):
    """A model on the allow-list. `facts` are there once it is inspected, `proofs` once it is proved, `fault` when it is `faulty`."""

    created_at: str
    created_by: str
    facts: dict[str, Any]
    fault: dict[str, Any] | None
    fits: list[Fit] | None
    inspect_job: str | None
    links: dict[str, str]
    name: str
    outcome: Literal["passed", "limited", "refused", "unproven"]
    proofs: list[Proof]
    prove_job: str | None
    proved_with: dict[str, Any] | None
    removed_at: str | None
    revision: str | None
    source: str
    state: Literal["inspecting", "proving", "ready", "faulty"]
    updated_at: str
    weights_bytes: dict[str, int] | None


class Proof(TypedDict):
    """One property that was checked on the model's own files and weights."""

    figure: float
    name: str
    outcome: Literal["passed", "limited", "refused"]
    sentence: str
    unit: str


class Fit(TypedDict):
    """The weights on one worker's device, and `row_bytes`, what one row of a request needs beside them (None where that is not known)."""

    arithmetic: str
    device: str
    dtype: str
    fits: bool
    limit_bytes: int
    row_bytes: NotRequired[int | None]
    weights_bytes: int
    worker: str


class Worker(TypedDict):
    """A worker node as it last reported."""

    alive: bool
    blocked: Blocked | None
    busy_with: str | None
    device: str
    hold: Hold | None
    host: str
    id: str
    job_class: str
    memory: dict[str, Any]
    models: list[str]
    seen_seconds_ago: float
    version: str


class Hold(TypedDict):
    """A worker that claims no new job. `draining`: its job goes back to the queue at the next boundary; `paused`: its job is finished first."""

    by: str
    mode: Literal["paused", "draining"]
    reason: str | None
    since: str
    until: str | None


class Blocked(TypedDict):
    """Why a worker claims no jobs although it is not held."""

    code: str
    detail: str
    facts: NotRequired[dict[str, Any]]


class Queue(TypedDict):
    """Unfinished jobs of one queue and model."""

    job_class: str
    model: str | None
    oldest_seconds: float | None
    queue: results.Queue
    queued: int
    running: int
    waiting: int


class Waiting(TypedDict):
    """A queued job that you may see: its position in the queue and why it waits."""

    job: str
    kind: str
    model: str | None
    name: str | None
    owner: str
    queue: results.Queue
    queue_position: int | None
    waits_because: WaitReason | None


class Status(TypedDict):
    """Workers, queues and jobs that wait, as every user sees them."""

    auth: Literal["on", "off"]
    broker: Check
    listening: bool
    queues: list[Queue]
    version: str
    versions: dict[str, str]
    waiting: list[Waiting]
    waiting_requests: int
    workers: list[Worker]


class Check(TypedDict):
    """One thing the service needs."""

    detail: str
    ok: bool


class Me(TypedDict):
    """The user of your key, and what the key may do."""

    groups: list[str]
    key_id: str | None
    owner: str
    role: Literal["viewer", "member", "admin"]
    scopes: list[Literal["read", "submit", "admin"]]
