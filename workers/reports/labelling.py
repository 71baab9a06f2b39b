"""Builds the blind labelling sheet: texts of a study drawn over the whole range of scores, for a person to label without seeing any score.

The draw depends on the study's results and seed alone, so that later labels are matched by id with the same texts.
"""

import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binnacle.words.sheets import inert
from terms.documents.reading import read_answers
from terms.documents.runs import AnswerLine
from terms.specs import Node
from workers.job import JobContext, JobFault
from workers.judges.agreement import Agreement, agreement

TEXTS = 50
BANDS = ((0.0, 34.0), (34.0, 67.0), (67.0, 101.0))
"""Ranges of the trait score with equal numbers of drawn texts, because a rank correlation over similar texts would be meaningless."""
MARK = "t"
"""The letter before the digits of an id; ids of earlier sheets lack it."""
COLUMNS = ("id", "trait", "question", "answer", "label")


@dataclass(frozen=True)
class Text:
    """One answer with the judge's score; `id` reveals neither."""

    id: str
    trait: str
    cluster: str
    question: str
    answer: str
    score: float


def sample(context: JobContext, nodes: Mapping[str, Node], seed: int) -> list[Text]:
    """At most TEXTS answers of the study's steerings, all different, in an order that reveals nothing about the scores."""
    by_id: dict[str, Text] = {}
    for node in sorted(nodes.values(), key=lambda node: int(node["place"])):
        if node["kind"] == "steer" and context.result(node["job"])["state"] == "succeeded":
            for row in read_answers(context.artifact(node["job"], "responses.jsonl")):
                if row["set"] == "test" and row["trait"] is not None and row["text"].strip():
                    text = _text(str(node["trait"]).split("@")[0], row, row["trait"])
                    by_id.setdefault(text.id, text)
    texts = sorted(by_id.values(), key=lambda text: text.id)
    draw = random.Random(f"labelling {seed}")
    drawn: list[Text] = []
    for low, high in BANDS:
        band = [text for text in texts if low <= text.score < high]
        drawn += draw.sample(band, min(len(band), -(-TEXTS // len(BANDS))))
    taken = {text.id for text in drawn}
    rest = [text for text in texts if text.id not in taken]
    drawn += draw.sample(rest, min(len(rest), max(0, TEXTS - len(drawn))))
    return sorted(drawn[:TEXTS], key=lambda text: text.id)


def _text(trait: str, row: AnswerLine, score: float) -> Text:
    digest = hashlib.sha256(json.dumps([trait, row["question"], row["text"]]).encode()).hexdigest()
    # a spreadsheet reads some numbers of 12 hexadecimal digits as decimal numbers (12345e678901), and saves another text
    return Text(f"{MARK}{digest[:12]}", trait, row["cluster"], row["question"], row["text"], score)


def sheet(texts: Sequence[Text]) -> bytes:
    """The bytes of labelling.csv with an empty last column for the label: 0 (the answer does not show the trait) to 100 (it fully does)."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows([inert(cell) for cell in (text.id, text.trait, text.question, text.answer, "")] for text in texts)
    return out.getvalue().encode()


def agreed(texts: Sequence[Text], labels: Mapping[str, float]) -> Agreement:
    """The agreement of the judge's scores with the labels, by id with or without its MARK. Raises JobFault unknown_labels."""
    labels = {f"{MARK}{name.removeprefix(MARK)}": label for name, label in labels.items()}
    unknown = sorted(set(labels) - {text.id for text in texts})
    if unknown:
        raise JobFault(
            "unknown_labels",
            f"{len(unknown)} of {len(labels)} labels belong to no text of this study's sheet "
            f"({', '.join(unknown[:3])}). Fill in the labelling.csv of this study and send its ids unchanged.",
        )
    clusters = [(text.trait, text.cluster) for text in texts]
    return agreement(
        [text.score for text in texts], [labels.get(text.id) for text in texts], clusters, [text.trait for text in texts]
    )
