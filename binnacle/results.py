"""Types of the service's answers about jobs and results: at run time they are the API's own JSON objects.

A newer server may send further fields. The tests compare these types with the API's description, field by field.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, TypeVar, cast

import httpx2

State = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
Queue = Literal["model", "light", "generation"]
Visibility = Literal["private", "group", "public"]
Result = TypeVar("Result")


def read(kind: type[Result], response: httpx2.Response) -> Result:
    """Returns the JSON body of a response, as the documented type of its route."""
    return cast(kind, response.json())  # type: ignore[valid-type]


class Job(TypedDict):
    """A job. `phase` and `progress` describe the current attempt; `attempt` counts starts; `queue_position` 1 is the next to run."""

    artifacts: list[Artifact]
    attempt: int
    cancel_requested_at: str | None
    created_at: str
    error: dict[str, Any] | None
    eta_at: str | None
    finished_at: str | None
    group: str | None
    id: str
    keep: bool
    kind: str
    links: dict[str, str]
    losses: int
    metrics: dict[str, Any]
    model: str | None
    name: str | None
    notes: str | None
    owner: str
    phase: str
    priority: int
    progress: Progress
    queue: Queue
    queue_position: int | None
    result: dict[str, Any] | None
    results_removed_at: str | None
    retry_of: str | None
    spec: dict[str, Any]
    started_at: str | None
    state: State
    tags: list[str]
    visibility: Visibility
    waiting_for: list[str]
    waits_because: WaitReason | None
    warnings: list[str]
    webhook: str | None
    worker: str | None


class Artifact(TypedDict):
    """A file of a job's result."""

    href: str
    media_type: str
    name: str
    sha256: str
    size: int


class Progress(TypedDict):
    """How far the current phase has come."""

    done: int
    total: int
    unit: str


class WaitReason(TypedDict):
    """Why a job does not run yet."""

    code: str
    detail: str


class Calibration(TypedDict):
    """A finished calibration: its verdict and where its file is."""

    created_at: str
    doubt: str | None
    experiment: str | None
    id: str
    job: str
    links: dict[str, str]
    massive_dims: dict[str, Any]
    model: str
    model_variant: str | None
    owner: str
    reading_hash: str | None
    severity: dict[str, Any]
    stale: bool
    weight_hash: str


class Extraction(TypedDict):
    """A finished extraction. `vectors` describes each vector; the numbers are in the files."""

    calibration_job: str | None
    components: list[str]
    created_at: str
    doubt: str | None
    experiment: str | None
    id: str
    job: str
    layers: list[int]
    links: dict[str, str]
    methods: list[str]
    model: str
    model_variant: str | None
    owner: str
    positions: list[str]
    reading_hash: str | None
    summary: dict[str, Any]
    trait: str
    trait_version: str
    vectors: list[dict[str, Any]] | None
    weight_hash: str


class Vector(TypedDict):
    """One vector that can be steered with; `client.download(vector)` fetches its numbers."""

    component: str
    created_at: str
    doubt: str | None
    extraction: str | None
    facts: dict[str, Any]
    group: str | None
    id: str
    key: str
    layer: int
    links: dict[str, str]
    massive_rule: str | None
    massive_share: float | None
    method: str
    model: str
    name: str | None
    norm: float | None
    owner: str
    position: str | None
    reading_hash: str | None
    separation: dict[str, float | None]
    source: Literal["extracted", "imported"]
    trait: str | None
    trait_version: str | None
    visibility: Visibility | None
    weight_hash: str | None
    width: int


class Steering(TypedDict):
    """A finished steering: per method the chosen layer and dose, the gain on test questions with its interval, and the controls."""

    created_at: str
    doubt: str | None
    id: str
    job: str
    judge: str
    links: dict[str, str]
    model: str
    owner: str
    reading_hash: str | None
    rescore_of: str | None
    summary: dict[str, Any]
    trait: str | None
    trait_version: str | None
    weight_hash: str


class Study(TypedDict):
    """A study: its graph as it stands, and its result once the report is written."""

    created_at: str
    id: str
    job: str
    links: dict[str, str]
    nodes: dict[str, Node]
    owner: str
    progress: dict[str, int]
    result: dict[str, Any] | None
    spec: dict[str, Any]
    state: State
    title: str | None


class Node(TypedDict):
    """One job of a study's graph. Of a job that is not shared with you only its place in the plan is shown."""

    doubt: str | None
    error: dict[str, Any] | None
    job: str | None
    kind: str
    model: str
    phase: str | None
    reused: bool
    shared: bool
    state: State | None
    trait: str | None


class Generation(TypedDict):
    """A finished generation."""

    answers: list[Answer]
    doubt: str | None
    job: str
    model: str
    reading_hash: str | None


class Answer(TypedDict):
    """One answer; `vector` is None where the model was not steered."""

    coefficient: float | None
    dose: float | None
    ended: bool
    finite: bool
    fires: int
    mean_change: float
    prompt: str
    raw_dose: float | None
    source_model: NotRequired[str | None]
    system_prompt: str | None
    text: str
    vector: str | None


class Event(TypedDict):
    """One entry of a job's history; `seq` counts from 1 without gaps."""

    at: str
    data: dict[str, Any]
    seq: int
    type: str


class Trait(TypedDict):
    """One version of a trait, without its texts."""

    counts: dict[str, Any]
    created_at: str
    definition: str
    group: str | None
    id: str
    links: dict[str, str]
    made_for: str | None
    name: str
    notes: list[str]
    owner: str
    reference: str
    version: str
    visibility: Visibility
    warnings: list[str]


class TraitDetail(TypedDict):
    """One version of a trait, and the other versions of its name that you may see."""

    counts: dict[str, Any]
    created_at: str
    definition: str
    group: str | None
    id: str
    links: dict[str, str]
    made_for: str | None
    name: str
    notes: list[str]
    owner: str
    reference: str
    version: str
    versions: list[TraitVersion]
    visibility: Visibility
    warnings: list[str]


class TraitVersion(TypedDict):
    """Another version of the same name."""

    created_at: str
    id: str
    owner: str
    version: str


class Deletion(TypedDict):
    """What was deleted, or in a dry run what would be deleted."""

    bytes: int
    deleted: list[Gone]
    dry_run: bool
    files: int
    stays: list[Stays]
    vectors: int


class Gone(TypedDict):
    """One job, vector or trait that is deleted."""

    id: str
    kind: str
    name: str | None


class Stays(TypedDict):
    """A job that stays, and why."""

    id: str
    kind: str
    name: str | None
    why: str


class CalibrationFile(TypedDict):
    """calibration.json: `aggregate` holds the massive dims, norms and the verdict."""

    schema_version: int
    experiment: str
    model: str
    model_variant: str
    prompt_set: str
    is_calibration: bool
    provenance: dict[str, Any]
    aggregate: dict[str, Any]


class Tables(TypedDict):
    """tables.json of a study: the recommendation for each model, and the tables of its report."""

    recommendations: list[dict[str, Any]]
    tables: list[dict[str, Any]]
