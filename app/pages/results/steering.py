"""A steering: what each method gains, at which dose, and what that costs in coherence."""

from collections.abc import Iterable

from app.pages.answers import layers_named, method_name
from app.pages.plots.forest import Estimate, forest
from app.pages.plots.heat import heat
from app.pages.plots.lines import Axes, Marks, Series, lines
from app.pages.results.parts import Card, Cell, Facts, Grid, Links, Part, Sections, kept, linked
from app.pages.texts.runs import key_of
from app.pages.wording import interval, number, points
from binnacle.words.judging import REMEDY, cannot_tell, judge_in_words

MOST = 8
"""Methods that one plot shows."""
ABLATION_SUFFIXES = ("_pretop", "_randomdims", "_largest")


def sections(summary: Facts, job: str) -> Sections:
    """From summary.json. Numbers lead to the answers of `job` that they were computed from."""
    summary = {**summary, "job": job}
    if not summary.get("groups"):
        return Sections()
    subjects = _chosen(summary)
    leader = next((one for one in summary["groups"] if one["group"] == summary["leader"]), None)
    best = None if leader is None or leader["best"] is None else leader["best"]["r"]
    why = kept(
        _gains(summary),
        Links([("Read the answers", answers_of(job, {}))]),
        _curves(summary, subjects, "trait", best),
        _layers(summary, None if leader is None else leader["method"]),
    )
    return Sections(why, kept(_judge(summary), _curves(summary, subjects, "coherence", best), _costs(summary), _stops(summary)))


def _judge(summary: Facts) -> Card:
    """How far the judge can be trusted, and what to do where it cannot tell the classes apart."""
    doubt = cannot_tell(summary.get("judge_facts") or {})
    lines = [(judge_in_words(summary), "")]
    return Card("The judge", lines if doubt is None else [*lines, (doubt, ""), (REMEDY, "")])


def _chosen(summary: Facts) -> list[Facts]:
    """The subject of each method at its chosen layer, the leader first; copies of another vector are left out."""
    names = {one["subject"]: one for one in summary["groups"] if one.get("same_as") is None}
    found = [one for one in summary["subjects"] if one["name"] in names and one["curve"]]
    return sorted(found, key=lambda one: one["group"] != summary["leader"])[:MOST]


def _gains(summary: Facts) -> Part | None:
    rows = []
    for group in summary["groups"]:
        if group["best"] is not None and group["best"]["delta"] is not None:
            look = "leader" if group["group"] == summary["leader"] else "method"
            name = f"{group['method']}{_of_sibling(group)}, {layers_named(group['layers'])}"
            rows.append(_estimate(name, group["best"], look, summary["job"]))
    leader = next((one for one in summary["groups"] if one["group"] == summary["leader"]), None)
    rows.sort(key=lambda row: -row.value)
    for kind, runs in (leader["controls"] if leader else {}).items():
        gains = [run for run in runs if run["delta"] is not None]
        names = [f"control: {kind}{f' {at + 1}' if len(gains) > 1 else ''}" for at in range(len(gains))]
        rows += [_estimate(name, run, "control", summary["job"]) for name, run in zip(names, gains, strict=True)]
    if summary.get("prompt_only") and summary["prompt_only"]["delta"] is not None:
        rows.append(_estimate("asked in the prompt", summary["prompt_only"], "control", summary["job"]))
    note = "Points of the trait score over the unsteered model on held-out questions, each method at its best dose, with 95 % intervals."
    return forest("Gain of each method", note, rows, "gain in points")


def _of_sibling(one: Facts) -> str:
    """Which other model the vector was made on, if any."""
    return f" of {one['source_model']}" if one.get("source_model") else ""


def _estimate(name: str, effect: Facts, look: str, job: str) -> Estimate:
    return Estimate(name, effect["delta"], effect["delta_low"], effect["delta_high"], look, answers_of(job, effect))


def answers_of(job: str, effect: Facts) -> str:
    """Where the answers of a run are; the page of all answers for numbers that name no run."""
    return f"/jobs/{job}/answers" + (f"?run={key_of(effect['run'])}" if effect.get("run") else "")


def _curves(summary: Facts, subjects: Iterable[Facts], score: str, best: float | None) -> Part | None:
    series = []
    for one in subjects:
        curve = sorted((point for point in one["curve"] if point["r"] and point[score] is not None), key=lambda point: point["r"])
        band = [
            (point["r"], point[f"{score}_low"], point[f"{score}_high"])
            for point in curve
            if point.get(f"{score}_low") is not None
        ]
        leads = one["group"] == summary["leader"]
        places = [(point["r"], point[score]) for point in curve]
        # those of other groups are a choice on that page
        hrefs = [answers_of(summary["job"], point) for point in curve] if leads else ()
        series.append(Series(method_name(one["group"]) + _of_sibling(one), places, band if leads else (), not leads, hrefs))
    base = summary["unsteered"]["selection"][score]
    levels = [] if base is None else [(base, "unsteered")]
    marks = [] if best is None else [(best, "chosen dose")]
    if score == "coherence":
        levels.append((summary["coherence_threshold"], "lowest allowed"))
        marks += _cliff(series, summary["coherence_threshold"])
    titles = {"trait": "Dose-response of the trait", "coherence": "Dose-response of coherence"}
    note = "Mean score on the questions used to choose, over the dose; the band is the best method's 95 % interval."
    axes = Axes("dose, in norms of the stream without massive dimensions", "score, 0-100", log_x=True, y_range=(0.0, 100.0))
    return lines(titles[score], note, series, axes, Marks(levels, marks))


def _cliff(series: list[Series], threshold: float) -> list[tuple[float, str]]:
    """The first dose at which the best method falls under the lowest coherence."""
    under = [dose for dose, value in (series[0].points if series else ()) if value < threshold]
    return [(under[0], "cliff")] if under else []


def _layers(summary: Facts, method: str | None) -> Part | None:
    """The trait score by layer and dose, where the leading method was searched at several layers."""
    searched = [one for one in summary["subjects"] if one["method"] == method and len(one["layers"]) == 1 and one["curve"]]
    if len({one["layers"][0] for one in searched}) < 2:
        return None
    doses = sorted({number(point["r"], 2) for one in searched for point in one["curve"] if point["r"]}, key=float)
    tried = {
        (f"layer {one['layers'][0]}", number(point["r"], 2)): point
        for one in searched for point in one["curve"] if point["r"] and point["trait"] is not None
    }  # fmt: skip
    cells = {place: point["trait"] for place, point in tried.items()}
    hrefs = {place: answers_of(summary["job"], point) for place, point in tried.items()}
    rows = [f"layer {layer}" for layer in sorted({one["layers"][0] for one in searched})]
    note = f"Mean trait score of {method} at each layer and dose that were tried."
    return heat("Layer and dose", note, cells, rows, doses, "dose", ends=(0.0, 100.0), links=hrefs)


def _costs(summary: Facts) -> Part:
    rows: list[list[Cell]] = []
    for group in summary["groups"]:
        best = group["best"]
        if best is None:
            rows.append([group["method"], layers_named(group["layers"]), "no dose", "", "", "", "", ""])
            continue
        gain = linked(
            f"{points(best['delta'])}{interval(best['delta_low'], best['delta_high'])}", answers_of(summary["job"], best)
        )
        rows.append(
            [group["method"], layers_named(group["layers"]), number(best["r"]), gain,
             linked(number(best["coherence"]), answers_of(summary["job"], best)),
             number(best.get("perplexity")), number(best.get("repetition")), number(best.get("length"))]
        )  # fmt: skip
    base = summary["unsteered"]["test"]
    rows.append(["unsteered", "", "", "", linked(number(base.get("coherence")), answers_of(summary["job"], base)), "", "", ""])
    columns = ["method", "where", "dose", "gain", "coherence", "perplexity", "repetition", "tokens"]
    note = "At each method's best dose, on held-out questions. Perplexity is that of the answers under the unsteered model."
    return Grid("What it costs", note, columns, rows)


def _method_of(subject: str) -> str:
    """The method of a subject `position/component/method/layers`."""
    return subject.split("/")[-2] if subject.count("/") >= 3 else subject


def _stops(summary: Facts) -> Part | None:
    """Methods that share another's vector, and those that could not be compared."""
    rows: list[list[Cell]] = [
        [one["method"], f"the same vector as {_method_of(one['same_as'])}"] for one in summary["groups"] if one.get("same_as")
    ]
    rows += [[one["method"], f"at equal {way}: {why}"] for one in summary["groups"] for way, why in one["unreachable"].items()]
    return Grid("What was not compared", "", ["method", "why"], rows, numeric=False) if rows else None
