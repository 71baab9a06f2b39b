"""summary.json of a steering, and what its job keeps (docs/science.md, 4 and 5). The lines of the files beside it: `runs`.

Scores and gains are points of 0 to 100; an interval's ends are None where there were too few clusters.
"""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.massive import PerDim
from terms.documents.provenance import Reading
from terms.specs import Sampling, TraitVersion


class JudgeIdentity(Reading):
    """What makes two judges the same; what stands beside the first two differs by `kind`."""

    name: str
    version: NotRequired[int | str]
    prompt_hash: NotRequired[str]
    kind: NotRequired[str]
    model: NotRequired[str | None]
    weight_hash: NotRequired[str]
    scale: NotRequired[str]


class Accuracy(TypedDict):
    """A share of held-out texts with its 95 % limits, all from 0 to 1."""

    accuracy: float
    low: float
    high: float
    n: int
    clusters: int


class Likelihoods(TypedDict):
    base: float
    shuffled: float


class JudgeFacts(TypedDict, total=False):
    """What a reader of the scores should know of the judge; empty where nothing was fitted."""

    held_out_accuracy: float | None
    held_out: Accuracy | None
    tells_apart: bool | None
    counts: dict[str, int]
    left_out: int
    baseline: dict[str, float]
    log_likelihood: Likelihoods
    responses_elicited: bool
    warnings: list[str]
    kind: str
    phrases: int
    coherence_by: JudgeIdentity


class Scores(TypedDict):
    """Means of a run over its `n` answers; `failed` of them have no trait score."""

    run: str
    n: int
    trait: float | None
    coherence: float | None
    failed: int


class Spread(TypedDict):
    min: float | None
    p10: float | None
    median: float | None
    p90: float | None
    max: float | None


class UnsteeredScores(Scores):
    spread: NotRequired[Spread | None]


class Dose(TypedDict):
    """Of a subject at several layers `c` and `r_raw` are lists, and `r_sum` is the sum of r; None of a run without a dose."""

    r: float | None
    r_sum: NotRequired[float]
    c: float | list[float | None] | None
    r_raw: float | list[float | None] | None


class PushEffect(TypedDict, total=False):
    """How often the hooks fired and the mean change of the stream; empty without a push."""

    fires: int
    mean_change: float
    not_finite: int


class Moved(TypedDict):
    """Shares of questions."""

    wanted: float | None
    not_moved: float | None
    opposite: float | None


class Gain(TypedDict):
    """Against the unsteered answers: `delta` in points, `delta_joint` in percentage points of answers that show the trait coherently."""

    delta: float | None
    delta_low: float | None
    delta_high: float | None
    delta_joint: float | None
    delta_joint_low: float | None
    delta_joint_high: float | None


class SideEffects(TypedDict):
    length: float | None
    repetition: float | None
    perplexity: float | None
    ended: float | None
    finite: float | None


class Effect(Scores, Dose, Gain, SideEffects):
    """A run on test questions as tables show it."""

    delta_bounds: list[float | None]
    interval: str | None
    clusters: int
    moved: Moved
    effect: PushEffect


class ExtraEffect(Effect):
    """A run on an extra set: also the share of texts that did not change and, where answers can be right, of those that are."""

    unchanged: float
    right: NotRequired[float]
    right_unsteered: NotRequired[float]


class CurvePoint(Scores, Dose):
    """One dose of a dose-response, with the objective of the search."""

    trait_low: float | None
    trait_high: float | None
    coherence_low: float | None
    coherence_high: float | None
    objective: float | None


class OfASibling(TypedDict):
    """Of vectors made on another model: which, and the massive dims of its layers, which a cleaned vector has zeros at."""

    source_model: NotRequired[str]
    source_weight_hash: NotRequired[str | None]
    source_massive_by_layer: NotRequired[dict[str, list[int] | None]]


class Subject(OfASibling):
    """One vector at its layer, or one method's at several, with its dose-response on the selection questions."""

    name: str
    group: str
    method: str
    position: str | None
    component: str
    layers: list[int]
    ids: list[str | None]
    keys: list[str]
    same_as: str | None
    clean_share: list[float]
    unit_norm: list[float]
    has_clean_dose: bool
    curve: list[CurvePoint]
    best_r: float | None
    stopped: str | None


class Ends(TypedDict):
    low: float | None
    high: float | None


class Refits(Ends):
    """Gains of a method refitted on resampled extraction sets."""

    n: int
    runs: list[str]
    gains: list[float | None]


class Decomposition(TypedDict):
    """What the massive part of a vector does, from the arms `clean`, `massive` and `both`."""

    massive_part: str
    arms: dict[str, Effect]
    on_top: Ends | None
    per_dim: dict[str, PerDim]


class GroupFacts(OfASibling):
    """What a method did at its chosen layer, in every way it was compared; `unreachable` says why where a way could not be."""

    group: str
    subject: str
    method: str
    position: str | None
    component: str
    layers: list[int]
    same_as: str | None
    best: Effect
    matched: dict[str, Effect | None]
    unreachable: dict[str, str]
    controls: dict[str, list[Effect]]
    decomposition: Decomposition | None
    extra: dict[str, dict[str, ExtraEffect]]
    refits: Refits | None


class Group(GroupFacts):
    """`off_target`: by trait, the change of its score under this method's vector."""

    off_target: dict[str, Effect]


class Limits(Ends):
    """`interval` names the method."""

    interval: str | None


class Contrast(Limits):
    """Group `b` minus group `a`; `refits` and `over_refits` where both were refitted and the interval is over those too."""

    a: str
    b: str
    difference: float | None
    verdict: str
    smallest_detectable: float | None
    refits: NotRequired[int]
    over_refits: NotRequired[float | None]


class ReferenceRow(Scores, Dose):
    group: str
    delta: float | None


class Around(TypedDict):
    group: str
    c: float
    times: list[float]


class ReferenceProtocol(TypedDict):
    """Every group as the reference system compares it: one number, without an interval."""

    questions: int
    around: Around
    threshold: float
    unsteered: Scores
    rows: list[ReferenceRow]


class OffTarget(TypedDict):
    """Another trait, its judge and its unsteered scores."""

    trait: str
    judge: JudgeIdentity
    unsteered: Scores


class SetSize(TypedDict):
    n: int
    clusters: int


class RowsPlan(TypedDict):
    rows: int


class SteeringProvenance(Reading):
    weight_hash: str
    tokenizer_hash: str
    max_new_tokens: int
    special_tokens: NotRequired[str]
    sampling: Sampling | None
    seed: int
    dtype: str
    device: str
    batch_plan: RowsPlan
    threads: int


class RescoredFrom(TypedDict):
    """The job that supplied the texts, and the judge that it had."""

    job: str
    judge: JudgeIdentity


class Summary(TypedDict):
    """The whole file."""

    schema_version: int
    model: str
    trait: TraitVersion
    direction: str
    operation: str
    plain: NotRequired[bool]
    scope: str
    judge: JudgeIdentity
    judge_facts: NotRequired[JudgeFacts]
    coherence_threshold: float
    massive_dims: list[int]
    massive_rule: NotRequired[str]
    massive_by_layer: NotRequired[dict[str, list[int]]]
    questions: dict[str, SetSize]
    leader: str
    unsteered: dict[str, UnsteeredScores]
    prompt_only: Effect | None
    divergence_nats: dict[str, float]
    reference_protocol: NotRequired[ReferenceProtocol | None]
    groups: list[Group]
    off_target: NotRequired[list[OffTarget]]
    contrasts: dict[str, list[Contrast]]
    subjects: list[Subject]
    provenance: SteeringProvenance
    rescored_from: NotRequired[RescoredFrom]


class ShortJudge(TypedDict):
    held_out_accuracy: float | None
    held_out: Accuracy | None
    tells_apart: bool | None


class MethodRow(TypedDict):
    """One method in a list."""

    group: str
    layers: list[int]
    same_as: str | None
    r: float | None
    c: float | list[float | None] | None
    coherence: float | None
    delta: float | None
    delta_low: float | None
    delta_high: float | None
    delta_joint: float | None


class ShortSummary(TypedDict):
    """What the job and lists show: one row a method."""

    leader: str
    judge: NotRequired[ShortJudge]
    unsteered: dict[str, UnsteeredScores]
    questions: dict[str, SetSize]
    methods: list[MethodRow]


class SteeringResult(Reading):
    """What the job keeps, without the id that the service adds."""

    weight_hash: str | None
    judge: str
    summary: ShortSummary
