"""Tables of a method's effects elsewhere: on every trait, on the other traits' questions, and on other kinds of questions."""

from terms.methods import is_ablation
from workers.reports.gathered import Gathered
from workers.reports.table import Cells, Column, Row, Table
from workers.reports.tables.gains import DOSES, EFFECT, at_one_dose, change, method_name, points, steered


def traits(data: Gathered) -> Table:
    """The same method on every trait, side by side."""
    names = list(dict.fromkeys(cell.trait for cell in data.cells))
    rows: dict[tuple[str, str], Cells] = {}
    for cell, summary in steered(data):
        for group in summary["groups"]:
            if not is_ablation(group["method"]) and group["best"] is not None:
                name = method_name(group, summary)
                row = rows.setdefault((cell.model, name), {"model": cell.model, "method": name})
                row.update(points(cell, _key(cell.trait), at_one_dose(group, summary)))
    columns = [Column("model", "model"), Column("method", "method"), *(Column(_key(name), name, "points") for name in names)]
    return Table("traits", "Traits side by side", f"{EFFECT} Of each trait: {DOSES}", columns, list(rows.values()))


def off_target(data: Gathered) -> Table:
    """The effect of each method's vector on the scores of the other traits."""
    names = list(dict.fromkeys(cell.trait for cell in data.cells))
    rows: list[Row] = [
        {
            "model": cell.model,
            "trait": cell.trait,
            "method": method_name(group, summary),
            **points(cell, _key(cell.trait), change(group["best"], summary)),
            **{
                key: value
                for name, effect in group["off_target"].items()
                for key, value in points(cell, _key(name), effect).items()
            },
        }
        for cell, summary in steered(data)
        if summary.get("off_target")
        for group in summary["groups"]
        if not is_ablation(group["method"])
    ]
    columns = [
        Column("model", "model"),
        Column("trait", "the vector's trait"),
        Column("method", "method"),
        *(Column(_key(name), f"change of {name}", "points") for name in names),
    ]
    note = (
        "Each method's vector at its chosen dose on the test questions of every trait, scored by that trait's own "
        "judge. Numbers are points of that score, steered minus unsteered: a positive one means more of the trait that the column names. "
        "Brackets hold 95 % intervals over clusters of questions; a missing interval means too few clusters."
    )
    return Table("off_target", "Off-target matrix", note, columns, rows)


def _key(trait: str) -> str:
    """The key of a trait's column. A trait may be named as another column, or as the limit of another trait's; none has a colon in its name."""
    return f"trait:{trait}"


def extra_sets(data: Gathered) -> Table:
    """Paraphrases, unrelated questions and questions with right answers, at the chosen dose and at half of it."""
    rows: list[Row] = []
    for cell, summary in steered(data):
        for group in summary["groups"]:
            for name, runs in group["extra"].items():
                for at, effect in runs.items():
                    rows.append(
                        {
                            "model": cell.model, "trait": cell.trait, "method": method_name(group, summary), "set": name, "at": at,
                            "unchanged": effect["unchanged"], "unchanged_from": cell.texts(effect), "coherence": effect["coherence"],
                            "right": effect.get("right"), "right_unsteered": effect.get("right_unsteered"),
                            "right_from": cell.texts(effect), **points(cell, "delta", effect),
                        }
                    )  # fmt: skip
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("set", "questions"),
        Column("at", "dose"),
        Column("delta", "gain", "points"),
        Column("coherence", "coherence", "number"),
        Column("unchanged", "same text as unsteered", "share"),
        Column("right", "answered right", "share"),
        Column("right_unsteered", "unsteered: answered right", "share"),
    ]
    return Table(
        "extra",
        "Other questions: paraphrases, unrelated ones, capability",
        f"{EFFECT} At the chosen dose and at half of it.",
        columns,
        rows,
    )
