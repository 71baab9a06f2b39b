"""Types of job specs, by kind of job: written by the service at submission, stored with the job, hashed, and read by the kind's handler.

A spec contains everything that the result depends on, with defaults filled in and names resolved to versions and hashes. Keys that jobs of
earlier versions lack are `NotRequired`. tests/api compares the service's specs with these types.
"""

from typing import Literal, NotRequired, final, get_args

from typing_extensions import TypedDict  # on Python 3.11, pydantic supports this TypedDict but not that of typing

from terms.documents.massive import MassiveFacts
from terms.interventions import Operation, Scope
from terms.judging import JudgeSpec

SpecialTokens = Literal["markup", "text"]
"""How names of special tokens in a user's text are read: as those tokens, or as plain text."""
SPECIAL_TOKENS: SpecialTokens = "markup"  # unless a request says otherwise, and for specs older than the field
ExtraSet = Literal["paraphrases", "unrelated"]
EXTRA_SETS: tuple[ExtraSet, ...] = get_args(ExtraSet)
"""Sets of a trait's questions that a steering asks beside the held-out ones, on request."""


class OfAJob(TypedDict):
    """A reference to another job's result."""

    job: str


class TraitVersion(TypedDict):
    """A trait's name and version; `version` is the sha256 of the dataset."""

    name: str
    version: str


class Prompt(TypedDict):
    """A prompt with its system prompt; None: without one."""

    prompt: str
    system_prompt: str | None


class Sampling(TypedDict):
    """How answers are sampled: a temperature above 0, the probability `top_p` to sample from (at most 1), and a seed."""

    temperature: float
    top_p: float
    seed: int


class SourceModel(TypedDict):
    """The model that a vector was made on, if it differs from the steered model."""

    source_model: str
    source_weight_hash: str | None


class VectorSpec(TypedDict):
    """A stored vector: `digest` is the sha256 of its file, `key` its name in there."""

    id: str | None
    digest: str
    key: str
    position: str | None
    component: str
    method: str
    layer: int
    facts: NotRequired[MassiveFacts | None]
    source: NotRequired[SourceModel | None]


class VectorsOf(TypedDict):
    """Vectors of an extraction, by its job; None for a part means all of it."""

    job: str
    positions: list[str] | None
    components: list[str] | None
    methods: list[str] | None
    layers: list[int] | None
    source: NotRequired[SourceModel | None]


class Controls(TypedDict):
    """How many random and shuffled control vectors are reported, and whether a run without a vector asks for the trait."""

    random: int
    shuffled: int
    prompt_only: bool


class AskedQuestion(TypedDict):
    """A question of a request. A question without a cluster is a cluster of its own."""

    question: str
    system_prompt: str | None
    cluster: str | None


class RightOrWrong(AskedQuestion):
    """A question with a right answer; a right answer contains `answer`."""

    answer: str


class OwnQuestions(TypedDict):
    """A request's questions in place of the trait's: doses are chosen on `selection`, gains reported on `test`."""

    selection: list[AskedQuestion]
    test: list[AskedQuestion]


class OffTargetSpec(TypedDict):
    """Another trait, scored under each reported vector; its judge may be fitted to the responses of the job `extraction`."""

    trait: TraitVersion
    extraction: str | None
    responses_given: NotRequired[bool]


class Vetting(TypedDict):
    """Which responses an extraction keeps: trait scores (0 to 100) from `threshold` for positives, below for negatives."""

    judge: JudgeSpec
    threshold: float
    paired: bool


class OnAModel(TypedDict):
    """Keys of specs that use a model. `weight_hash` and `reading_hash` are None if the model was not inspected yet."""

    kind: str
    model: str
    weight_hash: str | None
    reading_hash: NotRequired[str | None]
    special_tokens: NotRequired[SpecialTokens]


class CalibrationSpec(OnAModel):
    """The spec of a calibration. `prompts` None: the shipped ones. `layers` None: all."""

    schema_version: NotRequired[int]
    experiment: str
    model_variant: NotRequired[str]
    rule: str
    layers: list[int] | None
    prompts: list[str | Prompt] | None
    max_new_tokens: int


class ExtractionLimits(TypedDict):
    """The most vectors that an extraction may fit, and the most bytes of rows that it may keep."""

    vectors: int
    rows_bytes: int


class ExtractionSpec(OnAModel):
    """The spec of an extraction. `rows_from`: the extraction that kept the rows; `rows_key`: a hash of everything that the rows depend on.
    `limits`: checked by the job, where the model was not inspected at submission.
    """

    trait: TraitVersion
    positions: list[str]
    components: list[str]
    layers: list[int] | None
    methods: list[str]
    controls: list[str]
    refits: list[str]
    calibration: OfAJob | None
    responses: str
    max_new_tokens: int
    validation_share: float
    seed: int
    resamples: int
    keep_rows: bool
    vetting: Vetting | None
    rows_from: str | None
    rows_key: NotRequired[str | None]
    limits: NotRequired[ExtractionLimits]
    experiment: NotRequired[str]
    model_variant: NotRequired[str]


@final
class GenerationSpec(OnAModel):
    """The spec of a generation. Either doses or coefficients; without a calibration, coefficients."""

    prompts: list[Prompt]
    vectors: list[VectorSpec]
    doses: list[float] | None
    coefficients: list[float] | None
    operation: Operation
    scope: Scope
    max_new_tokens: int
    sampling: Sampling | None
    calibration: OfAJob | None


# `from` is a keyword, so the class syntax cannot name this field
_Sources = TypedDict("_Sources", {"from": NotRequired[list[VectorsOf] | None]})


class SteeringAsked(OnAModel, _Sources):
    """The spec of a steering before its calibration is known. `vectors` are stored vectors, `from` names vectors of extractions by their job;
    both are steered. `extraction`: the job with the responses that a judge may be fitted to. `most_searched`: the most vectors to search
    doses of, checked by the job, where the model was not inspected at submission.
    """

    trait: TraitVersion
    vectors: list[VectorSpec]
    extraction: str | None
    questions: OwnQuestions | None
    sampling: Sampling | None
    judge: JudgeSpec
    controls: Controls
    off_target: NotRequired[list[OffTargetSpec]]
    capability: list[RightOrWrong] | None
    combine: bool
    operation: Operation
    ablate_plain: bool
    scope: Scope
    doses: list[float] | None
    coefficients: list[float] | None
    budget: int
    most_searched: NotRequired[int]
    selection_limit: int | None
    test_limit: int | None
    max_new_tokens: int
    coherence_threshold: float
    matched: list[str]
    decomposition: bool
    extra_sets: list[ExtraSet]
    reference_protocol: NotRequired[bool]
    seed: int
    responses_given: NotRequired[bool]


@final
class SteeringSpec(SteeringAsked):
    """The spec of a steering, with the calibration that its doses are measured by."""

    calibration: OfAJob


class RescoringSpec(OnAModel):
    """The spec of a rescore. `steering` is the steering's id, `job` its job."""

    steering: str
    job: str
    trait: TraitVersion
    judge: JudgeSpec
    coherence_threshold: float
    extraction: str | None
    responses_given: bool
    seed: int


@final
class ExportSpec(TypedDict):
    """The spec of an export: a part of an extraction in another program's format; None for a part means all of it."""

    kind: str
    format: str
    extraction: str
    model: str
    architecture: str
    weight_hash: str
    trait: TraitVersion
    experiment: str | None
    model_variant: str | None
    positions: list[str] | None
    components: list[str] | None
    methods: list[str] | None
    layers: list[int] | None


class CalibrationOf(TypedDict):
    """A calibration to export: its model's name and its job."""

    model: str
    job: str


@final
class CalibrationsExportSpec(TypedDict):
    """The spec of an export of calibrations in trait-interp's folders."""

    kind: str
    format: str
    model: NotRequired[str]
    calibrations: list[CalibrationOf]


class Node(TypedDict):
    """A job of a study; `place` is its index in the order of submission."""

    job: str
    kind: str
    model: str
    trait: str | None
    place: int


class PublishedSpec(TypedDict):
    """A published number, and how it was measured."""

    model: str
    trait: str
    method: str
    position: str
    layer: int | None
    value: float
    coefficient: float | None
    definition: str
    source: str


class StudySpec(TypedDict):
    """The request of a study with its defaults."""

    special_tokens: NotRequired[SpecialTokens]
    models: list[str]
    traits: list[str]
    skip_unregistered: NotRequired[bool]
    methods: list[str | dict[str, int | float | str]]
    positions: list[str]
    components: list[str]
    layers: list[int] | Literal["middle"]
    evidence: Literal["quick", "full"]
    ablation: list[int] | None
    refits: int | None
    budget: int
    max_new_tokens: int
    calibration_new_tokens: int
    selection_limit: int | None
    test_limit: int | None
    judge: str
    coherence_threshold: float
    controls: Controls
    matched: list[str]
    capability: list[RightOrWrong] | None
    reference_protocol: NotRequired[bool]
    published: NotRequired[list[PublishedSpec]]
    resamples: int
    seed: int


class ReportSpec(TypedDict):
    """The spec of a report. `nodes`: its jobs by name; `labels`: a person's scores of texts, by their ids."""

    kind: str
    study: StudySpec
    nodes: dict[str, Node]
    labels: NotRequired[dict[str, float] | None]


class DownloadSpec(TypedDict):
    """The spec of a download. `source` is a hub's name, `revision` a commit."""

    kind: str
    model: str
    source: str
    revision: str


class ModelSpec(TypedDict):
    """The spec of `inspect` and `prove`: `source` is a folder or a hub's name, `revision` a commit of a hub model."""

    kind: str
    model: str
    source: str
    revision: str | None
    programs: NotRequired[dict[str, int | str] | None]


Spec = (
    CalibrationSpec
    | ExtractionSpec
    | GenerationSpec
    | SteeringSpec
    | RescoringSpec
    | ExportSpec
    | CalibrationsExportSpec
    | ReportSpec
    | DownloadSpec
    | ModelSpec
)
"""The spec of any kind of job."""
BY_KIND: dict[str, tuple[type, ...]] = {
    "calibrate": (CalibrationSpec,),
    "extract": (ExtractionSpec,),
    "generate": (GenerationSpec,),
    "steer": (SteeringSpec,),
    "rescore": (RescoringSpec,),
    "export": (ExportSpec, CalibrationsExportSpec),
    "report": (ReportSpec,),
    "inspect": (ModelSpec,),
    "prove": (ModelSpec,),
    "download": (DownloadSpec,),
}
