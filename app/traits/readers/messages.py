"""Reads conversations in the format of chat APIs and preference data, JSON or JSON lines.

    {"messages": [{"role": "system", ...}, {"role": "user", ...}, {"role": "assistant", ...}], "label": 1}
    {"chosen": [messages], "rejected": [messages]}      (`positive` and `negative` mean the same; `prompt` may hold the first messages)

A conversation must be a single turn: a system prompt, the user's text, and the assistant's text as the given response. Longer ones are
dropped.
"""

from collections.abc import Sequence

from app.errors import invalid
from app.traits.readers.base import Reader, Row, Source, Taken, leftover, longer_note
from app.traits.readers.pairs import LABEL, NEGATIVE, POSITIVE, asked_apart, column, side
from terms.values import Json, JsonObject


def _conversation(value: Json) -> list[JsonObject]:
    """Returns the messages of a conversation; nothing for any other value."""
    if not isinstance(value, list) or not all(isinstance(message, dict) and "role" in message for message in value):
        return []
    return value


def recognises(source: Source) -> bool:
    """Returns whether the rows have `messages` and a label, or two conversations."""
    rows = source.rows
    if not rows:
        return False
    high, low = column(rows[0], POSITIVE), column(rows[0], NEGATIVE)
    return bool(_conversation(rows[0].get("messages")) or (high and low and _conversation(rows[0][high])))


def _turn(source: Source, number: int, value: Json) -> Row | None:
    """Returns the single turn of a conversation, None for a longer one. Raises Problem 422 for a value that is not a conversation."""
    messages = _conversation(value)
    if not messages or not all(isinstance(message.get("content"), str) for message in messages):
        detail = f"{source.file}, row {number}: a conversation must be a list of objects with the texts 'role' and 'content'."
        raise invalid(f"/{source.file}", "invalid_row", detail)
    roles = tuple(message["role"] for message in messages)
    plain = roles[1:] if roles[0] in ("system", "developer") else roles
    if plain not in (("user",), ("user", "assistant")):
        return None
    texts = [message["content"] for message in messages]
    row: Row = {"prompt": texts[len(roles) - len(plain)]}
    if len(plain) < len(roles):
        row["system_prompt"] = texts[0]
    if len(plain) == 2:
        row["response"] = texts[-1]
    return row


def read(sources: Sequence[Source], seed: int) -> Taken:
    """Reads rows of both classes; pairs of answers to one prompt also give the questions."""
    taken, whole, longer, used = Taken(), list[tuple[Row, Row]](), 0, {"messages", "prompt"}
    for source in sources:
        for number, row in enumerate(source.rows, start=1):
            high, low = column(row, POSITIVE), column(row, NEGATIVE)
            if "messages" in row or not (high and low):
                label = column(row, LABEL)
                used |= {label or LABEL[0]}
                turn = _turn(source, number, row.get("messages"))
                if turn is not None:
                    (taken.positive if side(source, number, row.get(label or LABEL[0])) else taken.negative).append(turn)
                longer += turn is None
                continue
            used |= {high, low}
            before = _conversation(row.get("prompt"))
            turns = [
                _turn(source, number, [*before, *(rest if isinstance(rest, list) else [])]) for rest in (row[high], row[low])
            ]
            if turns[0] is None or turns[1] is None:
                longer += 1
            elif turns[0]["prompt"] == turns[1]["prompt"]:
                whole.append((turns[0], turns[1]))
            else:
                taken.positive.append(turns[0])
                taken.negative.append(turns[1])
    notes = asked_apart(taken, whole, seed)
    taken.notes.append(
        f"Read as messages: {len(taken.positive):,} positive and {len(taken.negative):,} negative conversations of one turn."
    )
    taken.notes += [*longer_note(longer), *notes, *(note for source in sources for note in leftover(source, sorted(used)))]
    return taken


READER = Reader("conversations with a label, or chosen and rejected ones (JSON, JSON lines)", recognises, read)
