"""Renders a steering for the terminal: the gain of each method at its best dose, with its interval."""

from typing import Any

from rich.console import Group, RenderableType

from binnacle.cli.terminal import Listing, styled
from binnacle.results import Steering
from binnacle.words.counting import counted
from binnacle.words.evidence import lacking
from binnacle.words.judging import cannot_tell, spread_in_words, told_apart
from binnacle.words.rounding import limits


def steering_report(steering: Steering) -> RenderableType:
    """One row per method: layer, dose, gain on the held-out questions with its 95 % interval, coherence.

    Below the table: the number of questions, why there is no verdict, what the judge tells apart, the unsteered scores, methods with fewer
    scored questions, and methods without a gain.
    """
    summary = steering["summary"]
    table = Listing("method", "layer", "dose", "coefficient", "gain, points", "95 % interval", "coherence")
    for method in summary["methods"]:
        table.add_row(*_cells(method))
    test, unsteered = summary["questions"]["test"], summary["unsteered"]["test"]
    questions = f"{counted(test['n'], 'held-out question')} ({counted(test['clusters'], 'cluster')})"
    about = (
        f"Gain of {steering['trait'] or 'the trait'} on {steering['model']} over the unsteered answers, in the requested "
        f"direction, on {questions}, by the "
        f"judge {steering['judge']}."
    )
    facts = summary.get("judge") or {}
    why, needed = lacking(summary) or ("", "")
    judge = "" if cannot_tell(facts) else told_apart(facts)
    base = f"Unsteered: {_score(unsteered['trait'], ' of 100')}, coherence {_score(unsteered['coherence'])}."
    left_out = [f"No gain of {method}: {why}." for method, why in summary.get("left_out", {}).items()]
    said = [about, why, needed, judge, base, spread_in_words(unsteered), *_fewer(summary["methods"], test), *left_out]
    return Group(table, "", styled(" ".join(filter(None, said)), ""))


def _fewer(methods: list[dict[str, Any]], asked: dict[str, int]) -> list[str]:
    """A sentence that names the methods with gains over fewer questions than asked; none if all were scored, or the result has no counts."""
    counts = [(method["group"], method.get("scored")) for method in methods]
    phrases = [
        f"{name} {counted(scored['n'], 'question')} ({counted(scored['clusters'], 'cluster')})"
        for name, scored in counts
        if scored and scored["n"] < asked["n"]
    ]
    return [f"Scored fewer than asked: {'; '.join(phrases)}."] if phrases else []


def _cells(row: dict[str, Any]) -> list[str]:
    """Returns the cells of one method; empty if no dose was found or nothing was measured."""
    low, high = row["gain_low"], row["gain_high"]
    interval = "" if low is None or high is None else limits(low, high)
    gain = "" if row["gain"] is None else f"{row['gain']:+z.1f}"
    layers = ", ".join(map(str, row["layers"]))
    push = [_number(row["dose"]), _coefficient(row["coefficient"])]
    return [row["group"], layers, *push, gain, interval, _number(row["coherence"])]


def _coefficient(value: float | list[float] | None) -> str:
    """Returns the coefficient; for a push at several layers, that of each layer."""
    return ", ".join(map(_number, value)) if isinstance(value, list) else _number(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:z.4g}"


def _score(value: float | None, of: str = "") -> str:
    return "not scored" if value is None else f"{_number(value)}{of}"
