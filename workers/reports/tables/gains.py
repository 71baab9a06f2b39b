"""Common parts of the tables of gains: the cells of a gain, the sentence on how gains were measured, and the names of methods."""

from collections.abc import Iterator
from typing import Literal

from app.pages.texts.places import at_place, of_model, places_of
from terms.documents.steering import Contrast, Effect, GroupFacts, Subject, Summary
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Cells

EFFECT = (
    "Gains are in points of the judge's trait score (0-100) in the requested direction: steered minus unsteered, or the reverse where less "
    "of the trait was requested, on the same test questions, "
    "which were not used to choose layer or dose. Brackets hold 95 % intervals over clusters of questions; a "
    "missing interval means too few clusters."
)

DOSES = "All at the leader's dose; a method that cannot be given that dose has no value. Each at its own best dose where none was matched."
"""The sentence on `at_one_dose`."""

GainKey = Literal["delta", "delta_joint"]
"""The gain in points of the trait score, or in coherent answers on target."""


def steered(data: Gathered) -> Iterator[tuple[Cell, Summary]]:
    """Every cell with a steering, and its summary."""
    for cell in data.cells:
        if cell.steering is not None:
            yield cell, cell.steering


def points(cell: Cell, name: str, effect: Effect | None, source: GainKey = "delta") -> Cells:
    """A column of kind points with its interval and its source, from an effect of summary.json; empty where the effect is missing."""
    if not effect or effect.get(source) is None:
        return {}
    if source == "delta":
        low, high = effect.get("delta_low"), effect.get("delta_high")
    else:
        low, high = effect.get("delta_joint_low"), effect.get("delta_joint_high")
    return {name: effect[source], f"{name}_low": low, f"{name}_high": high, f"{name}_from": cell.texts(effect)}


def change(effect: Effect, summary: Summary) -> Effect:
    """The effect of a gain as the change of the trait's score: with the other sign where less of the trait was requested."""
    if summary.get("direction") != "negative":
        return effect
    delta, low, high = (
        None if value is None else -value for value in (effect["delta"], effect["delta_low"], effect["delta_high"])
    )
    return {**effect, "delta": delta, "delta_low": high, "delta_high": low}


def at_one_dose(group: GroupFacts, summary: Summary) -> Effect | None:
    """The effect of a group at the leader's dose; its best where no group of the steering was compared at that dose."""
    if any(any_group["matched"].get("dose") for any_group in summary["groups"]):
        return group["matched"].get("dose")
    return group["best"]


def compared(contrast: Contrast) -> tuple[float | None, float | None]:
    """The difference that the contrast's interval and verdict are about, and the smallest that would be seen.

    Files from before 2026-11-29 keep the first as `over_refits` where methods were refitted, and have the second for the steered vectors alone.
    """
    over = contrast.get("over_refits")
    return (contrast["difference"], contrast["smallest_detectable"]) if over is None else (over, None)


def place_of(subject: GroupFacts | Subject) -> tuple[str | None, str, str | None]:
    """The position, component and other model, if any, on which a group's or subject's vectors were made."""
    return subject["position"], subject["component"], subject.get("source_model")


def method_name(subject: GroupFacts | Subject, summary: Summary, method: str | None = None) -> str:
    """The method of a group or subject, or another `method` of the same place, as the tables show it: with the other model if the vectors
    were made on one, and with position and component where the steering compares several of them, so that no two rows look alike.
    """
    place = at_place(subject["group"], places_of(group["group"] for group in summary["groups"]))
    return f"{method or subject['method']}{of_model(subject['group'])}{place}"
