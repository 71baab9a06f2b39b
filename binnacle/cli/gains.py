"""Renders a steering for the terminal: the gain of each method at its best dose, with its interval."""

from typing import Any

from rich.console import Group, RenderableType

from binnacle.cli.terminal import Listing, styled
from binnacle.results import Steering
from binnacle.words.counting import counted


def steering_report(steering: Steering) -> RenderableType:
    """One row per method: layer, dose, gain on the held-out questions with its 95 % interval, coherence.

    Below the table: the number of questions, the judge and the unsteered scores.
    """
    summary = steering["summary"]
    table = Listing("method", "layer", "dose", "coefficient", "gain, points", "95 % interval", "coherence")
    for one in summary["methods"]:
        table.add_row(*_cells(one))
    test, unsteered = summary["questions"]["test"], summary["unsteered"]["test"]
    questions = f"{counted(test['n'], 'held-out question')} ({counted(test['clusters'], 'cluster')})"
    about = (
        f"Gain of {steering['trait'] or 'the trait'} on {steering['model']} over the unsteered answers, in the requested "
        f"direction, on {questions}, by the "
        f"judge {steering['judge']}. Unsteered: {_score(unsteered['trait'], ' of 100')}, coherence {_score(unsteered['coherence'])}."
    )
    return Group(table, "", styled(about, ""))


def _cells(one: dict[str, Any]) -> list[str]:
    """Returns the cells of one method; empty if no dose was found or nothing was measured."""
    low, high = one["gain_low"], one["gain_high"]
    interval = "" if low is None or high is None else f"[{low:+z.1f}, {high:+z.1f}]"
    gain = "" if one["gain"] is None else f"{one['gain']:+z.1f}"
    layers = ", ".join(map(str, one["layers"]))
    return [one["group"], layers, _number(one["dose"]), _number(one["coefficient"]), gain, interval, _number(one["coherence"])]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:z.4g}"


def _score(value: float | None, of: str = "") -> str:
    return "not scored" if value is None else f"{_number(value)}{of}"
