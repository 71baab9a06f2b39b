"""Shows a steering: each method's gain, its dose, and the cost in coherence."""

from typing import Literal

from app.pages.answers import layers_named
from app.pages.plots.elements import Figure
from app.pages.plots.forest import Estimate, forest
from app.pages.plots.heat import heat
from app.pages.plots.lines import Axes, Marks, Series, lines
from app.pages.results.parts import Card, Cell, Grid, Leads, Links, Part, Sections, kept, linked
from app.pages.texts.places import method_name, places_of
from app.pages.texts.runs import dose_of, key_of
from app.pages.wording import interval, number, points, shown_of
from binnacle.words.evidence import left_out
from binnacle.words.judging import SHORT_REMEDY, cannot_tell, judge_in_words
from terms.documents.steering import CurvePoint, Effect, Group, Subject, Summary

MOST = 8
"""Most methods in one plot."""
Score = Literal["trait", "coherence"]


def sections(summary: Summary | None, job: str) -> Sections:
    """Returns the sections from summary.json. Numbers link to the answers of `job` that they were computed from."""
    if not summary or not summary.get("groups"):
        return Sections()
    leads = answers_of(job)
    why = kept(
        _gains(summary, leads),
        Links([("Read the answers", leads(None))]),
        _judge(summary),
        curves(summary, "trait", leads),
        layers(summary, leads),
    )
    return Sections(why, kept(curves(summary, "coherence", leads), _costs(summary, leads), _stops(summary)))


def leader_of(summary: Summary) -> Group | None:
    """Returns the group of the best method."""
    return next((group for group in summary["groups"] if group["group"] == summary["leader"]), None)


def _judge(summary: Summary) -> Card:
    """Returns a card on how far the judge can be trusted, and what to do if it cannot tell the classes apart."""
    lines = [(judge_in_words(summary), "")]
    if cannot_tell(summary.get("judge_facts") or {}):
        lines.append(("It cannot tell the classes apart: no gain that it scored has a verdict.", SHORT_REMEDY))
    return Card("The judge", lines)


def _chosen(summary: Summary) -> list[Subject]:
    """Returns the subject of each method at its chosen layer, the leader first; leaves out copies of another vector."""
    names = {group["subject"] for group in summary["groups"] if group.get("same_as") is None}
    subjects = [subject for subject in summary["subjects"] if subject["name"] in names and subject["curve"]]
    return sorted(subjects, key=lambda subject: subject["group"] != summary["leader"])


def _gains(summary: Summary, leads: Leads) -> Part | None:
    rows: list[Estimate] = []
    places = _places(summary)
    for group in summary["groups"]:
        if group["best"] is not None:
            look = "leader" if group["group"] == summary["leader"] else "method"
            name = f"{method_name(group['group'], places)}, {layers_named(group['layers'])}"
            rows += _estimates(name, group["best"], look, leads)
    leader = leader_of(summary)
    rows.sort(key=lambda row: -row.value)
    for kind, runs in (leader["controls"] if leader else {}).items():
        for place, run in enumerate(runs, 1):
            rows += _estimates(f"control: {kind}{f' {place}' if len(runs) > 1 else ''}", run, "control", leads)
    if prompted := summary.get("prompt_only"):
        rows += _estimates("asked in the prompt", prompted, "control", leads)
    note = (
        "Points of the trait score over the unsteered model, in the requested direction, on held-out questions, each method at its best dose, "
        "with 95 % intervals."
    )
    return forest("Gain of each method", note, rows, "gain in points")


def _places(summary: Summary) -> frozenset[str]:
    """Returns the positions and components that the steering compares."""
    return places_of(group["group"] for group in summary["groups"])


def _estimates(name: str, effect: Effect, look: str, leads: Leads) -> list[Estimate]:
    """Returns the gain with its interval; nothing if no answer was judged."""
    gain = effect["delta"]
    return (
        [] if gain is None else [Estimate(name, gain, effect["delta_low"], effect["delta_high"], look, leads(effect.get("run")))]
    )


def answers_of(job: str) -> Leads:
    """Returns the addresses of a run's answers; for numbers without a run, the page of all answers."""
    return lambda run: f"/jobs/{job}/answers" + (f"?run={key_of(run)}" if run else "")


def curves(summary: Summary, score: Score, leads: Leads) -> Figure | None:
    """Returns a figure of each method's score, `trait` or `coherence`, by dose."""
    leader, series = leader_of(summary), []
    best = None if leader is None or leader["best"] is None else leader["best"]["r"]
    chosen, places = _chosen(summary), _places(summary)
    for subject in chosen[:MOST]:
        curve = sorted(
            ((r, value, point) for point in subject["curve"] if (r := point["r"]) and (value := point[score]) is not None),
            key=lambda each: each[0],
        )
        band = [(r, *ends) for r, _, point in curve if (ends := _ends(point, score)) is not None]
        first = subject["group"] == summary["leader"]
        tried = [(r, value) for r, value, _ in curve]
        # answers of other groups can be chosen on that page
        hrefs = [leads(point.get("run")) for *_, point in curve] if first else ()
        series.append(Series(method_name(subject["group"], places), tried, band if first else (), not first, hrefs))
    base = summary["unsteered"]["selection"][score]
    levels = [] if base is None else [(base, "unsteered")]
    marks = [] if best is None else [(best, "chosen dose")]
    if score == "coherence":
        levels.append((summary["coherence_threshold"], "lowest allowed"))
        marks += _cliff(series, summary["coherence_threshold"])
    titles = {"trait": "Dose-response of the trait", "coherence": "Dose-response of coherence"}
    note = "Mean score on the questions used to choose, over the dose"
    note += "; the band is the best method's 95 % interval." if any(line.has_area for line in series) else "."
    note += shown_of(len(series), len(chosen), "methods")
    positive = all(r > 0 for line in series for r, _ in line.points)  # a negative coefficient has a negative dose
    axes = Axes("dose, in norms of the stream without massive dimensions", "score, 0-100", log_x=positive, y_range=(0.0, 100.0))
    return lines(titles[score], note, series, axes, Marks(levels, marks))


def _ends(point: CurvePoint, score: Score) -> tuple[float, float] | None:
    low, high = (
        (point.get("trait_low"), point.get("trait_high"))
        if score == "trait"
        else (point.get("coherence_low"), point.get("coherence_high"))
    )
    return None if low is None or high is None else (low, high)


def _cliff(series: list[Series], threshold: float) -> list[tuple[float, str]]:
    """Returns the dose nearest to 0 at which the first series, the best method's, is below the lowest allowed coherence."""
    under = [dose for dose, value in (series[0].points if series else ()) if value < threshold]
    return [(min(under, key=abs), "cliff")] if under else []


def layers(summary: Summary, leads: Leads) -> Figure | None:
    """Returns a figure of the trait score by layer and dose, if the leading method was searched at several layers."""
    leader = leader_of(summary)
    group = None if leader is None else leader["group"]  # a method at one position and component
    searched = [
        subject
        for subject in summary["subjects"]
        if subject["group"] == group and len(subject["layers"]) == 1 and subject["curve"]
    ]
    if len({subject["layers"][0] for subject in searched}) < 2:
        return None
    doses = sorted({number(point["r"], 4) for subject in searched for point in subject["curve"] if point["r"]}, key=float)
    tried = {
        (f"layer {subject['layers'][0]}", number(point["r"], 4)): point
        for subject in searched for point in subject["curve"] if point["r"] and point["trait"] is not None
    }  # fmt: skip
    cells = {place: value for place, point in tried.items() if (value := point["trait"]) is not None}
    hrefs = {place: leads(point.get("run")) for place, point in tried.items()}
    rows = [f"layer {layer}" for layer in sorted({subject["layers"][0] for subject in searched})]
    name = method_name(searched[0]["group"], _places(summary))
    note = f"Mean trait score of {name} at each layer and dose that were tried."
    return heat("Layer and dose", note, cells, rows, doses, "dose", ends=(0.0, 100.0), links=hrefs)


def _costs(summary: Summary, leads: Leads) -> Part:
    rows: list[list[Cell]] = []
    places = _places(summary)
    for group in summary["groups"]:
        best, name = group["best"], method_name(group["group"], places)
        if best is None:
            rows.append([name, layers_named(group["layers"]), "no dose", "", "", "", "", ""])
            continue
        gain = linked(f"{points(best['delta'])}{interval(best['delta_low'], best['delta_high'])}", leads(best.get("run")))
        rows.append(
            [name, layers_named(group["layers"]), dose_of(best), gain,
             linked(number(best["coherence"]), leads(best.get("run"))),
             number(best.get("perplexity")), number(best.get("repetition")), number(best.get("length"))]
        )  # fmt: skip
    base = summary["unsteered"]["test"]
    rows.append(["unsteered", "", "", "", linked(number(base.get("coherence")), leads(base.get("run"))), "", "", ""])
    columns = ["method", "where", "dose", "gain", "coherence", "perplexity", "repetition", "tokens"]
    note = "At each method's best dose, on held-out questions. Perplexity is that of the answers under the unsteered model."
    return Grid("What it costs", note, columns, rows)


def _stops(summary: Summary) -> Part | None:
    """Returns the methods that share another's vector, and those that could not be compared, controls too."""
    places = _places(summary)
    names = {group["group"]: method_name(group["group"], places) for group in summary["groups"]}
    rows: list[list[Cell]] = [
        [names[group["group"]], f"the same vector as {method_name(twin.rpartition('/')[0], places)}"]
        for group in summary["groups"] if (twin := group.get("same_as"))
    ]  # fmt: skip
    rows += [
        [names[group["group"]], f"at equal {way}: {why}"]
        for group in summary["groups"]
        for way, why in group["unreachable"].items()
    ]
    rows += [[method_name(group, places), why] for group, why in left_out(summary).items()]
    rows += [[name, f"not run: {why}"] for group in summary["groups"] for name, why in group.get("controls_left_out", {}).items()]
    return Grid("What was not compared", "", ["method", "why"], rows, numeric=False) if rows else None
