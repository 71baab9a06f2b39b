"""Types of a steering's summary.json and of its job's result (docs/science.md, 4 and 5). `runs` has the lines of its other files.
Scores are points from 0 to 100, gains differences of scores; an interval's ends are None if there were too few clusters."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.judge import JudgeFacts, JudgeIdentity, ShortJudge
from terms.documents.massive import PerDim
from terms.documents.provenance import Reading
from terms.specs import Sampling, TraitVersion


class Scores(TypedDict):
    """Mean scores of a run over its `n` answers; `failed` of them lack a score of trait or coherence."""

    run: str
    n: int
    trait: float | None
    coherence: float | None
    failed: int


class Spread(TypedDict):
    """Quantiles of the trait scores of a run's answers, in points to two decimals, linear between neighbouring scores; answers without a score
    are left out."""

    min: float | None
    p10: float | None
    median: float | None
    p90: float | None
    max: float | None


class UnsteeredScores(Scores):
    """Scores of unsteered answers; `spread` is None if no answer has a trait score, and missing in files of earlier versions."""

    spread: NotRequired[Spread | None]


class Dose(TypedDict):
    """The dose of a run; None without a dose. For several layers, `c` and `r_raw` are lists, and `r_sum` is the sum of r.
    A vector without a clean dose has `c` and `r_raw`, and no `r`; in files from before 2026-11-28, `r` is then the raw dose. For `norm_match`
    `c` is r itself and there is no `r_raw`; in files from before 2026-11-29 it is c over the clean norm."""

    r: float | None
    r_sum: NotRequired[float]
    c: float | list[float | None] | None
    r_raw: float | list[float | None] | None


class PushEffect(TypedDict, total=False):
    """How often the hooks fired over all answers, the mean norm of the change at the site, and the number of answers with logits that are not
    finite; empty without a push."""

    fires: int
    mean_change: float
    not_finite: int


class Moved(TypedDict):
    """Shares of scored questions, 0 to 1: with a gain of at least 10 points, of less than 10 either way, and of -10 or less."""

    wanted: float | None
    not_moved: float | None
    opposite: float | None


class Gain(TypedDict):
    """The gain over unsteered answers: `delta` in points, `delta_joint` in percentage points of answers that show the trait coherently."""

    delta: float | None
    delta_low: float | None
    delta_high: float | None
    delta_joint: float | None
    delta_joint_low: float | None
    delta_joint_high: float | None


class SideEffects(TypedDict):
    """Mean length in tokens, share of repeated 4-grams, perplexity without steering, shares of answers that ended and had finite logits."""

    length: float | None
    repetition: float | None
    perplexity: float | None
    ended: float | None
    finite: float | None


class SetSize(TypedDict):
    """The number `n` of questions, and the number of clusters that they form: an interval needs 20 clusters."""

    n: int
    clusters: int


class Effect(Scores, Dose, Gain, SideEffects):
    """A run on test questions, as shown in tables. `n` and `clusters` count the questions asked, `scored` those that the gain counts; files from
    before 2026-11-29 lack it."""

    delta_bounds: list[float | None]
    interval: str | None
    clusters: int
    scored: NotRequired[SetSize]
    moved: Moved
    effect: PushEffect


class ExtraEffect(Effect):
    """A run on an extra set: also the share of texts that did not change and, for questions with a right answer, the share of right answers."""

    unchanged: float
    right: NotRequired[float]
    right_unsteered: NotRequired[float]


class CurvePoint(Scores, Dose):
    """A point of a dose-response curve, with the objective of the search."""

    trait_low: float | None
    trait_high: float | None
    coherence_low: float | None
    coherence_high: float | None
    objective: float | None


class OfASibling(TypedDict):
    """For vectors made on another model: that model, and the massive dims of its layers, in which a cleaned vector is zero."""

    source_model: NotRequired[str]
    source_weight_hash: NotRequired[str | None]
    source_massive_by_layer: NotRequired[dict[str, list[int] | None]]


class Subject(OfASibling):
    """A vector at its layer, or a method's vectors at several layers, with its dose-response curve on the selection questions."""

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
    """The ends of a 95 % interval in points, over clusters of questions (docs/science.md, 4.5); None with fewer than 20 clusters of scored
    questions."""

    low: float | None
    high: float | None


class Refits(Ends):
    """Gains of a method refitted on resampled extraction sets, and the mean over the `scored` ones. The ends are over extraction sets too, and
    also None with fewer than two scored refits. `draws` are the numbers of the resamples, 1 to n in files without it; files from before
    2026-11-29 lack `scored` and `mean`."""

    n: int
    draws: NotRequired[list[int]]
    runs: list[str]
    gains: list[float | None]
    scored: NotRequired[int]
    mean: NotRequired[float | None]


class Decomposition(TypedDict):
    """The effect of the massive part of a vector, from the arms `clean`, `massive` and `both`."""

    massive_part: str
    arms: dict[str, Effect]
    on_top: Ends | None
    per_dim: dict[str, PerDim]


class GroupFacts(OfASibling):
    """The effects of a method at its chosen layer, in each comparison; `unreachable` says why a comparison was not possible,
    `controls_left_out` why a control was not run, by its name (files from before 2026-11-29 lack it)."""

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
    controls_left_out: NotRequired[dict[str, str]]
    decomposition: Decomposition | None
    extra: dict[str, dict[str, ExtraEffect]]
    refits: Refits | None


class Group(GroupFacts):
    """A method's effects. `off_target`: by trait, the change of that trait's score under this method's vector."""

    off_target: dict[str, Effect]


class Limits(Ends):
    """The ends of a contrast's interval, which hold together with those of all contrasts of one way of matching at 95 %. `interval` names the
    method: exact, bca, two-level, or "same run" for two names of one run."""

    interval: str | None


class Contrast(Limits):
    """Group `b` minus group `a`. If both were refitted, all of it is about the mean over `refits` refits, and `difference_of_the_fit` is that of
    the steered vectors themselves.
    In files from before 2026-11-29 that mean is `over_refits`; `difference` and `smallest_detectable` are those of the steered vectors."""

    a: str
    b: str
    difference: float | None
    verdict: str
    smallest_detectable: float | None
    refits: NotRequired[int]
    difference_of_the_fit: NotRequired[float | None]
    over_refits: NotRequired[float | None]


class ReferenceRow(Scores, Dose):
    """A group's best run by the reference's rule, and its gain in points."""

    group: str
    delta: float | None


class Around(TypedDict):
    """The coefficients tried: multiples (`times`) of the raw coefficient `c` at which `group` steered best."""

    group: str
    c: float
    times: list[float]


class ReferenceProtocol(TypedDict):
    """Every group compared as in the reference system: one number, without an interval."""

    questions: int
    around: Around
    threshold: float
    unsteered: Scores
    rows: list[ReferenceRow]


class OffTarget(TypedDict):
    """Another trait, with its judge and its unsteered scores."""

    trait: str
    judge: JudgeIdentity
    unsteered: Scores


class RowsPlan(TypedDict):
    """The rows that generate side by side; `prefix`: whether shared beginnings are computed once (files of earlier versions lack it)."""

    rows: int
    prefix: NotRequired[str]


class SteeringProvenance(Reading):
    """The model, settings and machine behind the numbers, as the job had them; `threads` are torch's."""

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
    """The job that supplied the texts, and its judge."""

    job: str
    judge: JudgeIdentity


class Summary(TypedDict):
    """The whole summary.json."""

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


class MethodRow(TypedDict):
    """A method in a list. `scored` as in `Effect`."""

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
    scored: NotRequired[SetSize]


class ShortSummary(TypedDict):
    """The summary shown on the job and in lists: one row per method. `left_out`: why each other method has no gain, by its group; absent in
    results of before 30 November 2026."""

    leader: str
    judge: NotRequired[ShortJudge]
    unsteered: dict[str, UnsteeredScores]
    questions: dict[str, SetSize]
    methods: list[MethodRow]
    left_out: NotRequired[dict[str, str]]


class SteeringResult(Reading):
    """A steering job's stored result, without the id that the service adds."""

    weight_hash: str | None
    judge: str
    summary: ShortSummary
