"""Example answers of the best method: with the largest, median and smallest gain, each next to the unsteered answer."""

from app.pages.answers import layers_named
from app.pages.results.parts import Text
from app.pages.results.steering import leader_of
from app.pages.texts.pairs import Both, matched, ordered, pair
from app.pages.wording import number, points
from workers.reports.gathered import Cell
from workers.reports.tables.gains import method_name
from workers.reports.texts import Read, job_of

PLACES = {"most gain": 0.0, "middle": 0.5, "least gain": 1.0}


def examples(cell: Cell, read: Read) -> list[Text]:
    """The examples of one model and trait; empty where no method could be steered, and where the answers are no longer stored.

    Answers without a gain, because the judge gave no score, are no examples.
    """
    summary = cell.steering
    leader = None if summary is None or not summary.get("groups") else leader_of(summary)
    if summary is None or leader is None or leader["best"] is None or not leader["best"].get("run"):
        return []
    steered, unsteered = leader["best"]["run"], summary["unsteered"]["test"]["run"]
    _, lines = read(job_of(cell), [steered, unsteered])
    sign = -1 if summary.get("direction") == "negative" else 1
    scored = [both for both in matched(lines.get(steered, []), lines.get(unsteered, [])) if both.change is not None]
    ranked = ordered(scored, "best", sign)
    where = f"{method_name(leader, summary)}, {layers_named(leader['layers'])}, dose {number(leader['best'].get('r'))}"
    chosen = {int(share * (len(ranked) - 1)): name for name, share in reversed(PLACES.items())} if ranked else {}
    return [_shown(ranked[at], f"{cell.trait} on {cell.model}, {chosen[at]}", where) for at in sorted(chosen)]


def _shown(both: Both, title: str, where: str) -> Text:
    shown = pair(both)
    change = "" if shown.change is None else f"; trait {points(shown.change)}"
    sides = [(f"unsteered: {shown.left.scores}", shown.left.text, shown.left.note)] if shown.left is not None else []
    steered = (f"{where}: {shown.right.scores}{change}", shown.right.text, shown.right.note)
    return Text(f"{title}: {shown.question}", shown.system_prompt, [*sides, steered])
