"""Derives verdicts from intervals, and a study's recommendations (docs/science.md, 4.5 and 5). Pure rules on numbers.

The leader of a steering is the method with the largest joint gain on the selection questions; controls cannot lead. A cleaned vector has its
massive dims set to 0; a plain vector is the same vector before that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from binnacle.words.counting import counted
from binnacle.words.rounding import MARGINS, decimals, limits
from terms.methods import UnknownMethod, is_ablation, is_control, parse_method
from workers.science.intervals import Interval

TIE = MARGINS[-1]
"""Two vectors tie when the whole interval of their difference lies within this many points."""
TRAITS_NEEDED = 2
"""The smallest number of traits on which a method must lead, tie or be better to be recommended."""
TIES, BETTER, WORSE, NOT_ENOUGH = "ties", "better", "worse", "not enough evidence"
CANNOT_TELL = "its judge cannot tell the classes apart"
"""What a sentence says about a trait in place of numbers from an unusable judge."""
AGREEMENT = 0.6
"""The smallest Spearman correlation of the judge with labels at which verdicts are given."""
COST = ("random", "mean_diff", "mean_diff_rownorm", "pca", "lda", "probe", "gradient", "rfm", "lm_loss")
"""Base methods from the cheapest; a suffix adds the cost of a calibration."""


def verdict(interval: Interval | None, *, judged: bool = True) -> str:
    """Returns the verdict on a difference in points, given its interval.

    `ties` if the whole interval lies within +-TIE points, even where it excludes 0; else `better` or `worse` if it excludes 0; else `not enough
    evidence`, also without an interval. `judged` False: the judge cannot tell the classes apart, so its differences have no meaning.
    """
    if interval is None or not judged:
        return NOT_ENOUGH
    if interval.within(TIE):
        return TIES
    if not interval.excludes_zero():
        return NOT_ENOUGH
    return BETTER if interval.low > 0 else WORSE


@dataclass(frozen=True)
class Contrast:
    """One vector's gain minus another's at equal dose, in points. `detectable` is the smallest difference that could have been detected;
    `judged` as in `verdict`; `stored` the verdict that the steering drew from unrounded limits."""

    difference: float
    interval: Interval | None
    detectable: float | None = None
    judged: bool = True
    stored: str | None = None

    @property
    def verdict(self) -> str:
        """The verdict on this difference."""
        return verdict(self.interval, judged=self.judged) if self.stored is None or not self.judged else self.stored

    def __str__(self) -> str:
        ends = "no interval" if self.interval is None else limits(self.interval.low, self.interval.high)
        seen = (
            ""
            if self.detectable is None or self.verdict != NOT_ENOUGH
            else f" (smallest detectable difference: {self.detectable:.0f} points)"
        )
        return f"{self.difference:+z.1f} {ends}{seen}"


@dataclass(frozen=True)
class TraitEvidence:
    """The evidence for one trait on one model. `contrasts` are each method minus the leader, by method; `cleaning` are cleaned minus plain, by
    the plain method; `left_out` is why a method was not compared at equal dose, by method.

    `massive_part` is `signal`, `inert`, `noise` or `unclear`; `not tested` where the layers have massive dims but no vector was split into
    parts; `none` where no massive dims are known at the layers. `judged` False: the judge cannot tell the trait's classes apart, and nothing
    follows from its scores.
    """

    trait: str
    leader: str
    leader_gain: Interval | None
    contrasts: Mapping[str, Contrast]
    cleaning: Mapping[str, Contrast] = field(default_factory=dict)
    massive_part: str = "none"
    judged: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A sentence, and the rule and numbers that support it."""

    sentence: str
    because: str


@dataclass(frozen=True)
class Recommendation:
    """A recommendation; `method` is None and `cleaning` `not enough evidence` where the numbers support no more."""

    method: str | None
    cleaning: str
    findings: Sequence[Finding]


def cost(key: str) -> tuple[int, int, str]:
    """Returns the sort key that orders methods, given by their keys, from the cheapest; unknown methods come last."""
    try:
        parsed = parse_method(key)
    except UnknownMethod:
        return len(COST), 0, key
    return COST.index(parsed.base) if parsed.base in COST else len(COST), int(bool(parsed.suffix)), key


def recommend(evidence: Sequence[TraitEvidence], *, agreement: float | None = None) -> Recommendation:
    """Recommends the cheapest method that leads, ties with the leader or beats it on at least TRAITS_NEEDED traits and is worse on none, and
    whether to clean.

    `agreement` is the judge's Spearman correlation with labels, None where no labels were given.
    """
    if agreement is not None and agreement < AGREEMENT:
        this = f"{agreement:.{decimals(agreement, [AGREEMENT], 2)}f}"
        because = (
            f"Rule: there is no verdict if the judge's rank correlation with the labels is below {AGREEMENT:g} (Spearman). "
            f"This one: {this}."
        )
        doubt = Finding(f"{NOT_ENOUGH.capitalize()} for any recommendation: the judge and the labels disagree.", because)
        return Recommendation(None, NOT_ENOUGH, [doubt])
    method, of_method = _method(evidence)
    cleaning, of_cleaning = _cleaning(evidence)
    return Recommendation(method, cleaning, [of_method, of_cleaning])


def _method(evidence: Sequence[TraitEvidence]) -> tuple[str | None, Finding]:
    """The recommended method, None where no method qualifies, and the finding that explains it."""
    steering = [case for case in evidence if _steered(case)]
    band = f"95 % interval inside +-{TIE:g} points"
    rule = f"Rule: the cheapest method that ties with the best at equal dose ({band}) on >= {TRAITS_NEEDED} traits and is worse on none."
    if len(steering) < TRAITS_NEEDED:
        shown = "; ".join(f"{case.trait}: {_best(case)}" for case in evidence) or "no trait was steered"
        known = f"{counted(len(steering), 'trait')} showed a reliable effect, {TRAITS_NEEDED} are needed"
        return None, Finding(
            f"{NOT_ENOUGH.capitalize()} to recommend a method: {known}.",
            f"{rule} {shown}.",
        )
    methods = sorted({name for case in steering for name in [case.leader, *case.contrasts] if not _is_control(name)}, key=cost)
    for name in methods:
        where = [case for case in steering if _standing(case, name) in (TIES, BETTER)]
        if len(where) >= TRAITS_NEEDED and not any(_standing(case, name) == WORSE for case in steering):
            numbers = "; ".join(f"{case.trait}: {_against(case, name)}" for case in where)
            return name, Finding(f"Use {name}: the cheapest method that ties with the best.", f"{rule} {numbers}.")
    closest = "; ".join(
        f"{case.trait}: {', '.join(f'{name} {contrast}' for name, contrast in case.contrasts.items() if not _is_control(name))}"
        for case in steering
    )
    return None, Finding(
        f"{NOT_ENOUGH.capitalize()} to recommend a method: none ties with the best on {TRAITS_NEEDED} traits and is worse on none.",
        f"{rule} {closest}.",
    )


def _standing(case: TraitEvidence, name: str) -> str:
    """The verdict on a method against the leader; the leader ties with itself."""
    if name == case.leader:
        return TIES
    return case.contrasts[name].verdict if name in case.contrasts else NOT_ENOUGH


def _best(case: TraitEvidence) -> str:
    return f"best {case.leader}, gain {_gain(case.leader_gain)}" if case.judged else CANNOT_TELL


def _steered(case: TraitEvidence) -> bool:
    """Whether the leader's gain is reliable: its interval lies above 0, and the judge can tell the classes apart."""
    return case.judged and case.leader_gain is not None and case.leader_gain.low > 0


def _no_effect(case: TraitEvidence) -> str:
    """Why the leader's gain on a trait is not reliable."""
    return f"no reliable effect; the best gain is {_gain(case.leader_gain)}" if case.judged else CANNOT_TELL


def _is_control(name: str) -> bool:
    """Whether a method is a control: random directions, vectors fitted on shuffled labels, or methods of the cleaning ablation."""
    return is_control(name) or is_ablation(name)


def _gain(interval: Interval | None) -> str:
    return "without an interval" if interval is None else limits(interval.low, interval.high)


def _against(case: TraitEvidence, name: str) -> str:
    """The numbers of a method on a trait: the leader's gain if it leads, else its difference from the leader."""
    if name == case.leader:
        word = "has the largest gain," if case.leader_gain is None else "leads, gain"
        return f"{word} {_gain(case.leader_gain)}"
    return f"{case.contrasts[name]} against {case.leader}"


def _cleaning(evidence: Sequence[TraitEvidence]) -> tuple[str, Finding]:
    """The advice on cleaning, such as `advised` or `not needed`, and the finding that explains it."""
    rule = (
        "Rule: cleaning is advised only where it is better at equal dose, and advised against where the massive part is signal."
    )
    signal = [case.trait for case in evidence if case.massive_part == "signal" and case.judged]
    if signal:
        return "advised against", Finding(
            f"Do not clean vectors on this model: the massive part carries the trait ({', '.join(signal)}).",
            f"{rule} {_cleaned(evidence)}",
        )
    if evidence and all(case.massive_part == "none" for case in evidence) and not any(case.cleaning for case in evidence):
        return "changes nothing", Finding("Cleaning changes nothing here: no massive dims are known at the steered layers.", rule)
    better = [(case.trait, base) for case in evidence for base, contrast in case.cleaning.items() if contrast.verdict == BETTER]
    worse = [(case.trait, base) for case in evidence for base, contrast in case.cleaning.items() if contrast.verdict == WORSE]
    # where nothing steers, two vectors without an effect tie
    ties = [base for case in evidence if _steered(case) for base, contrast in case.cleaning.items() if contrast.verdict == TIES]
    if worse:
        named = ", ".join(f"{base} ({trait})" for trait, base in worse)
        return "advised against", Finding(f"Do not clean: it is worse for {named}.", f"{rule} {_cleaned(evidence)}")
    if better:
        named = ", ".join(f"{base} ({trait})" for trait, base in better)
        return "advised", Finding(f"Clean {named}: it is better at equal dose.", f"{rule} {_cleaned(evidence)}")
    if ties and len(ties) == sum(len(case.cleaning) for case in evidence):
        return "not needed", Finding(
            "Cleaning is not needed: at equal dose cleaned and plain vectors tie.", f"{rule} {_cleaned(evidence)}"
        )
    weak = "".join(f" {case.trait}: {_no_effect(case)}." for case in evidence if case.cleaning and not _steered(case))
    return NOT_ENOUGH, Finding(f"{NOT_ENOUGH.capitalize()} to say whether cleaning helps.", f"{rule} {_cleaned(evidence)}{weak}")


def _cleaned(evidence: Sequence[TraitEvidence]) -> str:
    """All numbers about cleaning and the massive part, as a sentence."""
    parts = [
        f"{case.trait}, {base}: cleaned minus plain {contrast}" for case in evidence for base, contrast in case.cleaning.items()
    ]
    parts += [f"{case.trait}: the massive part is {case.massive_part}" for case in evidence if case.massive_part != "none"]
    return "; ".join(parts) + "." if parts else ""


def mean_diff_viable(evidence: Sequence[TraitEvidence]) -> tuple[str, str]:
    """Returns `yes`, `no` or `unclear`, and the numbers behind it, for plain mean_diff over all traits on which it was run.

    `no` where it is worse than the leader at equal dose on a trait with a reliable effect. Otherwise `unclear` where a trait has no reliable
    effect or not enough evidence, or where it was not run. `yes` where it leads, ties or is better on every trait.
    """
    answers, why = set(), []
    for case in evidence:
        if case.leader != "mean_diff" and "mean_diff" not in case.contrasts:
            if "mean_diff" in case.left_out:
                answers.add("unclear")
                why.append(f"{case.trait}: not compared at equal dose: {case.left_out['mean_diff']}")
            continue
        if not _steered(case):
            answers.add("unclear")
            why.append(f"{case.trait}: {_no_effect(case)}")
        elif case.leader == "mean_diff":
            answers.add("yes")
            why.append(f"{case.trait}: {_against(case, 'mean_diff')}")
        else:
            contrast = case.contrasts["mean_diff"]
            answers.add({TIES: "yes", BETTER: "yes", WORSE: "no"}.get(contrast.verdict, "unclear"))
            why.append(f"{case.trait}: {contrast} against {case.leader} at equal dose")
    answer = next((word for word in ("no", "unclear", "yes") if word in answers), "unclear")
    return answer, "; ".join(why) or "it was not run"
