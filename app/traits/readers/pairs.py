"""Reads tables of pairs or of labelled prompts: CSV, TSV, JSON and JSON lines.

    positive,negative                   two prompts
    prompt,positive,negative            a prompt and two responses (`question` means `prompt`)
    prompt,label                        one prompt; `text` means `prompt`; the label is positive / negative, 1 / 0, true / false or yes / no

Optional columns: `system_prompt` and `cluster`, and `response` next to a label.
"""

from collections.abc import Sequence

from app.errors import invalid
from app.traits.readers.base import Held, Reader, Row, Source, Taken, held_note, hold_out, leftover, words
from terms.values import Json

POSITIVE, NEGATIVE = ("positive", "pos", "chosen"), ("negative", "neg", "rejected")
PROMPT, LABEL = ("prompt", "question", "text"), ("label", "class")
BESIDE = ("system_prompt", "cluster")
SIDES = {"positive": True, "pos": True, "1": True, "true": True, "yes": True, "negative": False, "neg": False, "0": False,
         "-1": False, "false": False, "no": False}  # fmt: skip


def column(row: Row, names: Sequence[str]) -> str | None:
    """Returns the first of these fields that the row has."""
    return next((name for name in names if name in row), None)


def side(source: Source, number: int, value: Json) -> bool:
    """Returns whether a label means the positive class. Raises Problem 422."""
    positive = SIDES.get(str(value).strip().lower().removesuffix(".0"))
    if positive is None:
        detail = f"{source.file}, row {number}: the label {str(value)[:40]!r} is not positive or negative, 1 or 0, true or false, yes or no."
        raise invalid(f"/{source.file}", "invalid_row", detail)
    return positive


def recognises(source: Source) -> bool:
    """Returns whether rows have two texts, or a prompt with a label."""
    rows = source.rows
    if not rows:
        return False
    high, low = column(rows[0], POSITIVE), column(rows[0], NEGATIVE)
    if high and low:
        return isinstance(rows[0][high], str)
    return bool(column(rows[0], LABEL) and column(rows[0], PROMPT))


def read(sources: Sequence[Source], seed: int) -> Taken:
    """Reads rows of both classes; prompts with two responses also give the questions."""
    taken, whole, used = Taken(), list[tuple[Row, Row]](), set[str]()
    for source in sources:
        for number, row in enumerate(source.rows, start=1):
            beside = _given(source, number, row, BESIDE)
            prompt, label = column(row, PROMPT), column(row, LABEL)
            high, low = column(row, POSITIVE), column(row, NEGATIVE)
            used |= {name for name in (prompt, label, high, low, *BESIDE) if name}
            if high and low:
                texts = words(source, number, row, high), words(source, number, row, low)
                if prompt:
                    asked = words(source, number, row, prompt)
                    whole.append(
                        ({**beside, "prompt": asked, "response": texts[0]}, {**beside, "prompt": asked, "response": texts[1]})
                    )
                else:
                    taken.positive.append({**beside, "prompt": texts[0]})
                    taken.negative.append({**beside, "prompt": texts[1]})
            else:
                used |= {"response"} if prompt and label else set()
                asked = words(source, number, row, prompt or PROMPT[0])
                example = {**beside, "prompt": asked, **_given(source, number, row, ("response",))}
                (taken.positive if side(source, number, row.get(label or LABEL[0])) else taken.negative).append(example)
    notes = asked_apart(taken, whole, seed)
    taken.notes.append(f"Read as pairs: {len(taken.positive):,} positive and {len(taken.negative):,} negative rows.")
    taken.notes += [*notes, *(note for source in sources for note in leftover(source, sorted(used)))]
    return taken


def _given(source: Source, number: int, row: Row, names: Sequence[str]) -> Row:
    """Returns those of these optional fields that are not blank. Raises Problem 422 for one that is not a text."""
    return {name: words(source, number, row, name) for name in names if str(row.get(name) or "").strip()}


def asked_apart(taken: Taken, whole: Sequence[tuple[Row, Row]], seed: int) -> list[str]:
    """Adds pairs of responses to one prompt to the two classes, except pairs kept as questions; returns notes on the questions."""
    if not whole:
        return []
    prompts = [str(high["prompt"]) for high, _ in whole]
    held = hold_out(prompts, seed)
    if any("cluster" in high for high, _ in whole):
        held = Held(held.clusters, set())  # the table has its own clusters, and its questions are sent separately
    for i, (high, low) in enumerate(whole):
        if i in held.questions:
            continue
        taken.positive.append({"cluster": held.clusters[i], **high})
        taken.negative.append({"cluster": held.clusters[i], **low})
    if not held.questions:
        return []
    kept = {prompts[i]: held.clusters[i] for i in sorted(held.questions)}
    taken.questions = [{"question": prompt, "cluster": cluster} for prompt, cluster in kept.items()]
    return [held_note(held)]


READER = Reader("pairs of texts, or prompts with a label (CSV, TSV, JSON, JSON lines)", recognises, read)
