"""Builds the dataset that jobs read from a checked request: all clusters and splits filled in, as canonical JSON bytes.

Equal content gives equal bytes; a version is the SHA-256 of those bytes. Pure: no database, no clock, no randomness except the seed.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from app.auth.sharing import Sharing
from app.traits import clusters
from app.traits.schemas import Aside, Prompt, Question, TraitRequest
from binnacle.words.counting import counted
from terms.documents.trait import TraitCounts

NAMED = 5
"""Most clusters listed in a note."""


@dataclass(frozen=True)
class Dataset:
    """A trait as stored. `counts` are by part; `notes` name the filled-in fields and the parts that share clusters."""

    name: str
    definition: str
    data: bytes
    counts: TraitCounts
    notes: list[str]

    @property
    def version(self) -> str:
        """Returns the SHA-256 of the bytes, which is also the digest of the stored object."""
        return hashlib.sha256(self.data).hexdigest()


def build(request: TraitRequest, notes: list[str] | None = None, compared: Callable[[str], str] = str) -> Dataset:
    """Builds the dataset of a request that passed `app.traits.checks`. `notes` are those from reading its files; `compared` returns the part
    of a text by which rows without a cluster are grouped.
    """
    notes = list(notes or [])
    content = request.model_copy(deep=True)
    _note_repeated(content, notes)
    content.definition = definition = _definition(request, notes)
    _fill_clusters(content, notes, compared)
    _fill_splits(content, notes)
    counts = _counts(content)
    notes += _shared_notes(counts["shared"])
    return Dataset(request.name, definition, _bytes(content), counts, notes)


def _bytes(content: TraitRequest) -> bytes:
    written = content.model_dump(mode="json", exclude={"seed", *Sharing.model_fields})
    if content.made_for is None:
        del written["made_for"]  # datasets older than this field keep their version
    return json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _note_repeated(content: TraitRequest, notes: list[str]) -> None:
    for part, rows in (("positive", content.positive), ("negative", content.negative)):
        again = len(rows) - len({(row.prompt, row.system_prompt, row.response) for row in rows})
        if again:
            notes.append(
                f"{again} of the {len(rows)} {part} prompts repeat an earlier one; the repeated prompts are kept and counted."
            )


def _definition(request: TraitRequest, notes: list[str]) -> str:
    given = (request.definition or "").strip()
    if given:
        return given
    words = request.name.replace("_", " ").replace("-", " ")
    notes.append("There is no definition, so judges only see the trait's name. Describe a high and a low degree of the trait.")
    return f"How strongly a text shows {words}."


def _rows(content: TraitRequest) -> list[tuple[Prompt | Question | Aside, str]]:
    """Returns every row of the dataset that has a cluster, with its text; rows for the extraction first."""
    asked: list[Question | Aside] = [*content.steering.questions, *content.paraphrases, *content.unrelated]
    return [*((row, row.prompt) for row in (*content.positive, *content.negative)), *((row, row.question) for row in asked)]


def _cluster(row: Prompt | Question) -> str:
    """Returns the row's cluster, once all are filled in."""
    assert row.cluster is not None
    return row.cluster


def _fill_clusters(content: TraitRequest, notes: list[str], compared: Callable[[str], str]) -> None:
    rows = _rows(content)
    missing = sum(row.cluster is None for row, _ in rows)
    if not missing:
        return
    texts = [compared(text) for _, text in rows]
    wording = clusters.shared_wording(texts)
    filled = clusters.fill(texts, [row.cluster for row, _ in rows], wording)
    for (row, _), cluster in zip(rows, filled, strict=True):
        row.cluster = cluster
    notes.append(
        f"{missing:,} of {len(rows):,} prompts and questions had no cluster and were put into the cluster of their near-duplicates "
        f"(token Jaccard over {clusters.THRESHOLD}), {counted(len(set(filled)), 'cluster')} in all."
    )
    if wording:
        shown = ", ".join(repr(word[:20]) for word in sorted(wording)[:NAMED]) + (", ..." if len(wording) > NAMED else "")
        notes.append(
            f"Most texts have the same wording, so the {len(wording):,} words that half of them share ({shown}) were left out of that "
            "comparison. Give every row a cluster where texts that differ in a few words are the same question."
        )


def _fill_splits(content: TraitRequest, notes: list[str]) -> None:
    """Assigns a split to questions without one, by cluster: the split of other questions in the cluster, or `selection` if the extraction
    uses the cluster, or else by draw.
    """
    questions = content.steering.questions
    open_ones = [row for row in questions if row.split is None]
    if not open_ones:
        return
    placed: dict[str, Literal["selection", "test"]] = {}
    for row in questions:
        if row.split is not None:
            placed.setdefault(_cluster(row), row.split)
    extraction = {_cluster(row) for row in (*content.positive, *content.negative)}
    to_draw = {_cluster(row) for row in open_ones} - placed.keys() - extraction
    test = clusters.draw(to_draw, content.seed)
    for row in open_ones:
        cluster = _cluster(row)
        row.split = placed.get(cluster, "test" if cluster in test else "selection")
    notes.append(
        f"{counted(len(open_ones), 'question')} had no split: {len(test):,} of "
        f"{counted(len(to_draw), 'cluster')} drawn for the test (seed {content.seed})."
    )


def _counts(content: TraitRequest) -> TraitCounts:
    questions, examples = content.steering.questions, (*content.positive, *content.negative)
    parts = {
        "extraction": {_cluster(row) for row in examples},
        "selection": {_cluster(row) for row in questions if row.split == "selection"},
        "test": {_cluster(row) for row in questions if row.split == "test"},
    }
    pairs = (("extraction", "selection"), ("extraction", "test"), ("selection", "test"))
    counts: TraitCounts = {
        "positive": len(content.positive),
        "negative": len(content.negative),
        "selection": sum(row.split == "selection" for row in questions),
        "test": sum(row.split == "test" for row in questions),
        "paraphrases": len(content.paraphrases),
        "unrelated": len(content.unrelated),
        "system_prompts": sum(row.system_prompt is not None for row in examples),
        "given_responses": sum(row.response is not None for row in examples),
        "clusters": {part: len(cluster_names) for part, cluster_names in parts.items()},
        "shared": {f"{one}_{other}": sorted(parts[one] & parts[other]) for one, other in pairs if parts[one] & parts[other]},
    }
    if content.made_for is not None:
        counts["made_for"] = content.made_for
    return counts


def _shared_notes(shared: dict[str, list[str]]) -> list[str]:
    """Returns a sentence for each pair of parts that share clusters: texts tested there were partly seen before."""
    notes = []
    for pair, common in shared.items():
        one, other = pair.split("_")
        listed = ", ".join(repr(cluster) for cluster in common[:NAMED]) + (", ..." if len(common) > NAMED else "")
        notes.append(
            f"{one.capitalize()} and {other} share {counted(len(common), 'cluster')} ({listed}), which could not be kept apart."
        )
    return notes
