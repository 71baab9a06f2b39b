"""Types of extraction.json and of the lines of an extraction's responses.jsonl (docs/science.md, 3)."""

from collections.abc import Mapping
from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.judge import ClassResponse
from terms.documents.massive import MassiveFacts
from terms.documents.provenance import Reading
from terms.specs import TraitVersion
from terms.values import Json


class Separation(TypedDict):
    """How well projections on the vector separate examples.

    `on` names the examples: "validation", those that were held out. `polarity` is 1 where the positive class projects higher, else -1.
    """

    on: str
    n_positive: int
    n_negative: int
    accuracy: float
    cohens_d: float | None
    auroc: float
    polarity: int


class Stability(TypedDict):
    """Cosines of the vector with its refits on `resamples` draws of clusters. `left_out` is the number of further draws on which the method has
    no fit. If there are too few clusters, or no draw has a fit, `reason` replaces the cosines."""

    split_half_cosine: NotRequired[float | None]
    cosine_low: NotRequired[float]
    cosine_high: NotRequired[float]
    resamples: int
    left_out: NotRequired[int]
    reason: NotRequired[str]


class Paired(TypedDict):
    """Differences of `n` pairs of examples, and the mean of their cosines with each other; None for fewer than two."""

    n: int
    mean_cosine: float | None


class DirectionFacts(MassiveFacts):
    """Facts of a vector except its place. `fit` differs by method."""

    method: str
    width: int
    norm: float
    baseline: float
    fit: Mapping[str, Json]
    separation: Separation | None
    stability: Stability | None
    pairs: Paired
    counts: dict[str, int]
    seed: int


class VectorFacts(DirectionFacts):
    """Facts of a vector with its place. `key` is `position/component/method/layer`, the vector's name in every file."""

    key: str
    position: str
    component: str
    layer: int


class ImportedFacts(TypedDict):
    """Facts of an imported vector: where it came from, and nothing of its fit."""

    key: str
    position: str | None
    component: str
    method: str
    layer: int
    width: int
    norm: float
    baseline: None
    fit: None
    separation: None
    massive: None
    stability: None
    pairs: None
    counts: None
    seed: None
    provenance: dict[str, int | str]


class Split(TypedDict):
    """The clusters that were held out from the fit, and how they were drawn."""

    seed: int
    validation_share: float
    validation_clusters: list[str]


class CalibrationUsed(TypedDict):
    """What was taken from a calibration: its massive dims, and the rule that named them."""

    weight_hash: str
    rule: NotRequired[str]
    dims: list[int]


class SharedPlan(TypedDict):
    """How rows were grouped into forward passes that share prefixes."""

    prefix: str
    tokens: int
    block_tokens: int
    prefixes: int
    passes: int


class CapturePlan(SharedPlan):
    """The passes in which hidden states were captured; `capture_tokens`: the most tokens of a pass with several rows."""

    capture_tokens: int


class ExtractionProvenance(Reading):
    """The model, responses, settings and machine behind an extraction's vectors; `threads` are torch's."""

    weight_hash: str
    tokenizer_hash: str
    trait_version: str
    responses: str
    responses_hash: str
    max_new_tokens: int
    special_tokens: NotRequired[str]
    calibration: CalibrationUsed | None
    dtype: str
    device: str
    batch_plan: CapturePlan
    threads: int
    versions: dict[str, str]


class ExtractionDocument(TypedDict):
    """The whole extraction.json.

    `counts` are numbers of examples by class and split; its `empty_windows` lists, by position and class, the indices of the examples without
    a token in the window. `refits_left_out` are the keys of refits that have no vector, because the drawn clusters determine none, as for lda on
    one cluster drawn again and again (files from before 2026-11-29 lack it).
    """

    schema_version: int
    model: str
    trait: TraitVersion
    positions: list[str]
    components: list[str]
    layers: list[int]
    methods: list[str]
    controls: list[str]
    refits: list[str]
    refits_left_out: NotRequired[list[str]]
    counts: dict[str, int | dict[str, dict[str, list[int]]]]
    split: Split
    provenance: ExtractionProvenance
    vectors: list[VectorFacts]


class ExtractionSummary(TypedDict):
    """Numbers of examples, and of examples with empty windows by position."""

    examples: int
    kept: int
    validation: int
    empty_windows: dict[str, int]
    vectors: int
    rows_kept: bool


class ExtractionResult(Reading):
    """An extraction job's stored result, without the id that the service adds."""

    weight_hash: str
    positions: list[str]
    components: list[str]
    layers: list[int]
    rows_key: str | None
    summary: ExtractionSummary


class RespondedLine(ClassResponse):
    """An example with the response that was captured."""

    index: int
    split: str
    kept: bool
