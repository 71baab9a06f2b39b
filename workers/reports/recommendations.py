"""Derives the study's recommendations for each model, by the rules of `workers.science.verdicts`, with the numbers behind each sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binnacle.words.evidence import left_out
from binnacle.words.judging import REMEDY, cannot_tell
from binnacle.words.massive import massive_at
from binnacle.words.rounding import decimals, limits
from terms.documents.calibration import Aggregate
from terms.documents.steering import Contrast as ContrastFacts
from terms.documents.steering import Group, Summary
from terms.documents.study import Finding
from terms.methods import is_ablation, parse_method, plain_of
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Column, Table
from workers.reports.tables.gains import compared, place_of, steered
from workers.science.intervals import Interval
from workers.science.verdicts import NOT_ENOUGH, Contrast, TraitEvidence, mean_diff_viable, recommend

FROM_STRONGEST = ("signal", "unclear", "inert", "noise")
"""Verdicts on the massive part: a trait's evidence has the first of these that one of its methods has."""
MEANS = ("mean_diff", "mean_diff_rownorm")
"""Base methods that are differences of means, which massive dims can own."""


@dataclass(frozen=True)
class ModelFindings:
    """The recommendations for one model. `method` is the recommended method, None where the evidence supports none. `severity_columns`
    (`viable`, `why`, `massive_part`) are added to the table of severity, next to the ratios."""

    method: str | None
    cleaning: str
    findings: list[Finding]
    severity_columns: dict[str, str]


def per_model(data: Gathered) -> dict[str, ModelFindings]:
    """The findings by model, in the study's order."""
    by_model = {}
    for model in dict.fromkeys([*data.calibrations, *(cell.model for cell in data.cells)]):
        calibration = data.calibrations.get(model)
        here = [(cell, summary) for cell, summary in steered(data) if cell.model == model]
        evidence = [_evidence(cell, summary, calibration, data) for cell, summary in here]
        advice = recommend(evidence, agreement=data.rank)
        viable, why = (NOT_ENOUGH, "judge and labels disagree") if data.disputed else mean_diff_viable(evidence)
        parts = sorted({case.massive_part for case in evidence})
        massive = parts not in ([], ["none"])
        by_model[model] = ModelFindings(
            advice.method,
            advice.cleaning,
            [Finding(model=model, sentence=finding.sentence, because=finding.because) for finding in advice.findings]
            + (_in_spite_of_massive_dims(model, advice.method, here, data) if massive else [])
            + [warning for cell, summary in here for warning in _warnings(cell, summary, data, advice.method)],
            {"viable": viable, "why": why, "massive_part": ", ".join(parts) or "unknown"},
        )
    return by_model


def table(by_model: Mapping[str, ModelFindings]) -> Table:
    """The table of recommendations, with one row per model."""
    rows = [
        {
            "model": model,
            "method": model_findings.method or "not enough evidence",
            "cleaning": model_findings.cleaning,
            "viable": model_findings.severity_columns["viable"],
        }
        for model, model_findings in by_model.items()
    ]
    columns = [
        Column("model", "model"),
        Column("method", "method"),
        Column("cleaning", "cleaning"),
        Column("viable", "mean_diff viable"),
    ]
    note = (
        "The recommendations follow by rule from the numbers below. They compare paired differences at equal dose, "
        "with simultaneous 95 % intervals."
    )
    return Table("recommendations", "Recommendations", note, columns, rows)


def _evidence(cell: Cell, summary: Summary, calibration: Aggregate | None, data: Gathered) -> TraitEvidence:
    """The evidence from one steering. Methods are compared at the leader's position and component: elsewhere a contrast would also be one of
    places.
    """
    leader = summary["leader"]
    # in steerings of earlier versions, a method of the ablation can lead
    groups = {
        group["group"]: group for group in summary["groups"] if group["group"] == leader or not is_ablation(group["method"])
    }
    judged = cannot_tell(summary.get("judge_facts") or {}) is None
    place = place_of(groups[leader])
    # a run without any score, such as one with texts that an endpoint refuses, has no difference
    differences = [contrast for contrast in summary["contrasts"]["dose"] if contrast["difference"] is not None]
    here = {name: group["method"] for name, group in groups.items() if place_of(group) == place}
    contrasts = {
        here[contrast["b"]]: _contrast(contrast, judged)
        for contrast in differences
        if contrast["a"] == leader and contrast["b"] in here
    }
    cleaning = {
        here[contrast["a"]]: _contrast(contrast, judged)
        for contrast in differences
        if contrast["a"] in here and contrast["a"] == plain_of(contrast["b"]) and contrast["b"] in here
    }
    parts = {data.massive_part(group["decomposition"], summary) for group in groups.values() if group["decomposition"]}
    best = groups[leader]["best"]
    gain = None
    if best["delta_low"] is not None and best["delta_high"] is not None:
        gain = Interval(best["delta_low"], best["delta_high"], str(best["interval"]), best["n"], best["clusters"])
    layers = {layer for group in groups.values() for layer in group["layers"]}
    massive = calibration is not None and any(massive_at(calibration, layer) for layer in layers)
    part = next((verdict for verdict in FROM_STRONGEST if verdict in parts), "not tested" if massive else "none")
    return TraitEvidence(cell.trait, groups[leader]["method"], gain, contrasts, cleaning, part, judged, _not_compared(summary))


def _not_compared(summary: Summary) -> dict[str, str]:
    """Why a method at the leader's position and component has no difference from the leader at equal dose, by method."""
    searched = {subject["group"]: subject for subject in summary["subjects"]}
    reported = {group["group"]: group for group in summary["groups"]}
    place = place_of(reported[summary["leader"]])
    without_gain = {searched[name]["method"]: why for name, why in left_out(summary).items() if place_of(searched[name]) == place}
    unreached = {
        group["method"]: why
        for group in reported.values()
        if place_of(group) == place and (why := group.get("unreachable", {}).get("dose"))
    }
    return without_gain | unreached


def _in_spite_of_massive_dims(
    model: str, method: str | None, here: Sequence[tuple[Cell, Summary]], data: Gathered
) -> list[Finding]:
    """Why the advised method can be a difference of means that was not cleaned, on a model with massive dims; empty for other advice."""
    calibration, advised = data.calibrations.get(model), None if method is None else parse_method(method)
    severity = "none" if calibration is None else calibration["severity"]["verdict"]
    if severity == "none" or method is None or advised is None or advised.base not in MEANS or advised.suffix:
        return []
    gains = [(cell.trait, _at_the_coefficient(method, summary)) for cell, summary in here if data.decides(summary)]
    measured = "; ".join(f"{trait} {gain}" for trait, gain in gains if gain is not None)
    because = (
        "At the usual coefficient, one for all vectors as in published results, such a vector would do nothing where the massive part takes "
        "nearly all of the push. Gain measured at such a coefficient, the probe's or else the leader's: "
        f"{measured or 'not measured in this study'}."
    )
    sentence = (
        f"{method} is advised although the model is {severity}: at equal dose its massive part does not count against it, because doses are "
        "compared by how much they move the residual stream without its massive dims."
    )
    return [{"model": model, "sentence": sentence, "because": because}]


def _at_the_coefficient(method: str, summary: Summary) -> str | None:
    """The gain of a method at the shared coefficient, at the leader's position and component, with its interval; None if not measured."""
    group = _beside_the_leader(method, summary)
    effect = None if group is None else group["matched"].get("coefficient")
    if effect is None or effect["delta"] is None:
        return None
    low, high = effect["delta_low"], effect["delta_high"]
    interval = (
        None if low is None or high is None else Interval(low, high, str(effect["interval"]), effect["n"], effect["clusters"])
    )
    return str(Contrast(effect["delta"], interval))


def _beside_the_leader(method: str | None, summary: Summary) -> Group | None:
    """The group of a method at the leader's position and component; None if it was not steered there."""
    groups = {group["group"]: group for group in summary["groups"]}
    place = place_of(groups[summary["leader"]])
    return next((group for group in groups.values() if group["method"] == method and place_of(group) == place), None)


def _warnings(cell: Cell, summary: Summary, data: Gathered, advised: str | None) -> list[Finding]:
    """Warnings about a judge that cannot tell the classes apart, about incoherent answers of the leader or of the advised method, and about a
    control with a gain of at least the lower limit of the leader's interval: the gain may then come from the push itself and not from the
    trait's labels.
    Where labels disagree with the judge, no gain counts."""
    doubt = cannot_tell(summary.get("judge_facts") or {})
    if doubt is not None:
        return [{"model": cell.model, "sentence": f"{cell.trait}: {doubt}", "because": REMEDY}]
    if data.disputed:
        return []
    leader = next(group for group in summary["groups"] if group["group"] == summary["leader"])
    warnings = _incoherent(cell, summary, leader, _beside_the_leader(advised, summary))
    low, high = leader["best"]["delta_low"], leader["best"]["delta_high"]
    if low is None or high is None:
        return warnings
    for kind, runs in leader["controls"].items():
        gains = [run["delta"] for run in runs if run["delta"] is not None]
        if gains and max(gains) >= max(low, 0):
            warnings.append(
                {
                    "model": cell.model,
                    "sentence": f"Careful with {cell.trait}: a {kind} control at the same dose gains as much as the best method "
                    "may gain (the lower end of its interval).",
                    "because": f"Control {max(gains):+z.1f}, {leader['method']} {leader['best']['delta']:+z.1f} "
                    f"{limits(low, high)}: the gain may come from the push itself and "
                    "not from the trait's labels.",
                }
            )
    return warnings


def _incoherent(cell: Cell, summary: Summary, leader: Group, advised: Group | None) -> list[Finding]:
    """A warning for the leader, and one for the advised method at the leader's dose (at its best where it has no run there), where the answers
    to the test questions are less coherent than was requested."""
    least = summary["coherence_threshold"]
    warnings: list[Finding] = []
    checked = [(leader, leader["best"], "answers at the best method's dose", "")]
    if advised is not None and advised is not leader:
        matched = advised["matched"].get("dose")
        where = "its best dose" if matched is None else "the best method's dose"
        checked.append(
            (advised, matched or advised["best"], f"answers of {advised['method']}, which is advised,", f" at {where}")
        )
    for group, effect, answers, at in checked:
        coherence, gain = effect["coherence"], effect["delta_joint"]
        if coherence is None or coherence >= least:
            continue
        shown = f"{coherence:.{decimals(coherence, [least], 0)}f}"
        known = "not known" if gain is None else f"{gain:+z.1f}"
        warnings.append(
            {
                "model": cell.model,
                "sentence": f"Careful with {cell.trait}: {answers} are less coherent than was requested.",
                "because": f"{group['method']}{at} has a mean coherence of {shown} out of 100, below {least:g}; its joint gain, of coherent "
                f"answers alone, is {known}.",
            }
        )
    return warnings


def _contrast(contrast: ContrastFacts, judged: bool) -> Contrast:
    interval = None
    if contrast["low"] is not None and contrast["high"] is not None:
        interval = Interval(contrast["low"], contrast["high"], str(contrast["interval"]), 0, 0)
    difference, detectable = compared(contrast)
    assert difference is not None, "left out by _evidence"
    return Contrast(difference, interval, detectable, judged, contrast["verdict"])
