"""Reads Contrastive Activation Addition's A/B questions (Rimsky et al., 2024: `generate_dataset.json`, `test_dataset_*.json`).

    [{"question": "...\\n\\nChoices:\\n (A) ...\\n (B) ...", "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}]

The question is the prompt of both classes and the answer is their given response. Steering questions are asked without the choices: from
`test_dataset_open_ended.json`, else from `test_dataset_ab.json`, else (also where every file is named so) from questions kept out of the
extraction. Questions are grouped by content: the choices, and words that most questions share, do not count.
"""

import re
from collections.abc import Sequence

from app.traits.readers import pairs
from app.traits.readers.base import Held, Reader, Row, Source, Taken, held_note, hold_out, leftover, words
from binnacle.words.counting import counted

HIGH, LOW = "answer_matching_behavior", "answer_not_matching_behavior"
_TEST = re.compile(r"(?<![a-z])test(?![a-z])")
_CHOICES = re.compile(r"(?:Choices:\s*)?\(A\).*\Z", re.DOTALL)  # no white space in front: long runs of it would take cubic time


def recognises(source: Source) -> bool:
    """Returns whether a file holds A/B questions, or the open-ended questions that come with them."""
    rows = source.rows
    return bool(rows) and "question" in rows[0] and (HIGH in rows[0] or (_is_test(source) and not pairs.recognises(source)))


def stem(question: str) -> str:
    """Returns the question without its choices, or the whole question if nothing would be left."""
    return _CHOICES.sub("", question).strip() or question


def _is_test(source: Source) -> bool:
    """Returns whether the file's name has the word `test`; `latest.csv` has not."""
    return bool(_TEST.search(source.file.lower()))


def read(sources: Sequence[Source], seed: int) -> Taken:
    """Reads a row of each class for every A/B question that is not a steering question."""
    choices = [source for source in sources if HIGH in source.rows[0]]
    tests = [source for source in choices if _is_test(source)]
    asked = [source for source in sources if source not in choices] or (tests if len(tests) < len(choices) else [])
    rows = [(source, number, row) for source in choices if source not in asked for number, row in enumerate(source.rows, start=1)]
    stems = [stem(words(*place, "question")) for place in rows]
    held = hold_out(stems, seed)
    questions: list[Row]
    if asked:
        held = Held(held.clusters, set())
        questions = [
            {"question": stem(words(source, number, row, "question"))}
            for source in asked
            for number, row in enumerate(source.rows, start=1)
        ]
    else:
        questions = [{"question": stems[i], "cluster": held.clusters[i]} for i in sorted(held.questions)]
    taken = Taken(questions=questions)
    for i, place in enumerate(rows):
        if i not in held.questions:
            row = {"prompt": place[2]["question"], "cluster": held.clusters[i]}
            taken.positive.append({**row, "response": words(*place, HIGH).strip()})
            taken.negative.append({**row, "response": words(*place, LOW).strip()})
    of = ", ".join(dict.fromkeys(source.file for source, _, _ in rows))
    taken.notes.append(
        f"Read as CAA: {len(taken.positive):,} A/B questions of {of}, each a prompt of both classes with its answer as the given response "
        "(extract with responses: given). CAA itself reads the token of the letter: response[-2] where the last token is the bracket."
    )
    if asked:
        taken.notes.append(
            f"{counted(len(questions), 'steering question')} of {', '.join(source.file for source in asked)}, without choices."
        )
    else:
        taken.notes.append(held_note(held))
    for source in sources:
        taken.notes += leftover(source, ("question", HIGH, LOW))
    return taken


READER = Reader("A/B questions with answer_matching_behavior (JSON)", recognises, read, compared=stem)
