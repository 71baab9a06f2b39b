"""The table of methods: every method at its best dose and at matched doses, next to the unsteered model and the controls."""

from collections.abc import Iterator

from binnacle.words.evidence import left_out
from terms.documents.steering import Contrast, Effect, Group, Summary
from terms.methods import is_ablation
from workers.reports.gathered import Cell, Gathered
from workers.reports.table import Cells, Column, Table
from workers.reports.tables.gains import EFFECT, compared, method_name, points, steered
from workers.science.verdicts import BETTER, NOT_ENOUGH, TIES, WORSE

LEADER = "the leader"
"""In place of a verdict on itself. It names the row and claims nothing, since the leader's gain may have no interval."""
JUDGED = frozenset({LEADER, TIES, BETTER, WORSE, NOT_ENOUGH})
"""Verdicts that rest on the judge."""
COLUMNS = [
    Column("model", "model"),
    Column("trait", "trait"),
    Column("method", "method"),
    Column("layer", "layer"),
    Column("r", "dose", "number"),
    Column("c", "coefficient", "number"),
    Column("coherence", "coherence", "number"),
    Column("delta", "gain", "points"),
    Column("joint", "joint gain", "points"),
    Column("at_dose", "gain at the leader's dose", "points"),
    Column("at_coherence", "gain at matched coherence", "points"),
    Column("at_coefficient", "gain at the shared coefficient", "points"),
    Column("difference", "difference from the leader at equal dose", "points"),
    Column("verdict", "against the leader at equal dose"),
    Column("link", "runs", "link"),
]
NOTE = (
    f"{EFFECT} Joint gain counts coherent answers that show the trait (a score of at least 50), or do not where less of it was requested, in "
    "percentage points. Dose r is the part of the push "
    "outside the massive dims over the stream's norm without them; equal r is matched dose. At the shared raw "
    "coefficient, the probe's or the leader's where no probe was steered, a vector with massive dims gets a smaller dose r, so that column "
    "does not compare methods; "
    "published results for mean_diff were measured this way. Controls run at the best method's dose. The difference from the leader and its "
    "verdict have simultaneous 95 % intervals; with full evidence both are of the means over vectors refitted on resampled prompts, "
    "while the gains are of the vectors themselves."
)


def methods(data: Gathered) -> Table:
    """Every method at its best dose, at matched dose and at matched coherence, with baseline and controls."""
    rows = [row for cell, summary in steered(data) for row in _rows(cell, summary, decides=data.decides(summary))]
    return Table("methods", "Methods", NOTE, COLUMNS, rows)


def _rows(cell: Cell, summary: Summary, *, decides: bool) -> list[Cells]:
    """The rows of one model and trait, without a verdict where the judge's scores decide nothing."""
    of_the_cell: Cells = {"model": cell.model, "trait": cell.trait, "link": cell.runs}
    rows = [of_the_cell | row for row in (*_baselines(cell, summary), *_methods(cell, summary), *_controls(cell, summary))]
    return rows if decides else [_undecided(row) for row in rows]


def _undecided(row: Cells) -> Cells:
    """The row, with NOT_ENOUGH in place of a verdict that rests on the judge; a remark on a vector that was not compared stays."""
    return {**row, "verdict": f"{NOT_ENOUGH} (the judge)"} if row.get("verdict") in JUDGED else row


def _baselines(cell: Cell, summary: Summary) -> Iterator[Cells]:
    """The model without a push, and with the trait requested in the prompt instead."""
    unsteered = summary["unsteered"]["test"]
    yield {
        "method": "unsteered",
        "kind": "control",
        "coherence": unsteered["coherence"],
        "coherence_from": cell.texts(unsteered),
        "trait_score": unsteered["trait"],
    }
    if summary["prompt_only"]:
        yield {"method": "prompt only", "kind": "control", **_effect(cell, summary["prompt_only"])}


def _methods(cell: Cell, summary: Summary) -> Iterator[Cells]:
    """One row per method, except for methods of the cleaning ablation; last those without a gain, with the reason."""
    contrasts = {contrast["b"]: contrast for contrast in summary["contrasts"]["dose"] if contrast["a"] == summary["leader"]}
    for group in summary["groups"]:
        if is_ablation(group["method"]):
            continue
        layers = "+".join(map(str, group["layers"]))
        row: Cells = {"method": method_name(group, summary), "kind": "method", "layer": layers, "group": group["group"]}
        if group["best"] is not None:
            row |= _effect(cell, group["best"])
        for way in ("dose", "coherence", "coefficient"):
            row |= points(cell, f"at_{way}", group["matched"].get(way))
        if (contrast := contrasts.get(group["group"])) is not None:
            row |= _difference(contrast)
        yield {"verdict": LEADER if group["group"] == summary["leader"] else _origin(group), **row}
    subjects = {subject["group"]: subject for subject in summary["subjects"]}
    for name, why in left_out(summary).items():
        if not is_ablation(subjects[name]["method"]):
            yield {"method": method_name(subjects[name], summary), "kind": "method", "verdict": f"not compared: {why}"}


def _difference(contrast: Contrast) -> Cells:
    """The difference from the leader with its interval and its verdict."""
    difference, _ = compared(contrast)
    return {
        "difference": difference,
        "difference_low": contrast["low"],
        "difference_high": contrast["high"],
        "verdict": contrast["verdict"],
    }


def _controls(cell: Cell, summary: Summary) -> Iterator[Cells]:
    """Rows of the leader's random and shuffled vectors, numbered from 1, and of those that were not run, with the reason."""
    leader = next((group for group in summary["groups"] if group["group"] == summary["leader"]), None)
    if leader is None:
        return
    for kind, runs in leader["controls"].items():
        for number, run in enumerate(runs, 1):
            yield {"method": f"{kind} control {number}", "kind": "control", **_effect(cell, run)}
    for name, why in leader.get("controls_left_out", {}).items():
        yield {"method": f"control {name}", "kind": "control", "verdict": f"not run: {why}"}


def _effect(cell: Cell, effect: Effect) -> Cells:
    """The dose, coherence and both gains of a run."""
    return {
        "r": effect.get("r"),
        "c": effect.get("c"),
        "coherence": effect.get("coherence"),
        "run": effect.get("run"),
        "coherence_from": cell.texts(effect),
        **points(cell, "delta", effect),
        **points(cell, "joint", effect, "delta_joint"),
    }


def _origin(group: Group) -> str | None:
    """A remark on a vector that was not compared: why not, the vector that it equals, or the model on which it was made."""
    notes = [f"same vector as {group['same_as']}"] if group.get("same_as") else []
    notes += [why] if (why := group.get("unreachable", {}).get("dose")) else []
    notes += [f"vector of {group['source_model']}"] if group.get("source_model") else []
    return "; ".join(notes) or None
