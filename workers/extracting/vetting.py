"""Keeps only responses that a judge confirms to express their class (docs/science.md, 3.1).

The scores are stored as cells, so that a resumed job asks the judge only for the missing ones.
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from terms.documents.trait import TraitDataset
from terms.specs import Vetting
from workers.extracting.examples import Prompted
from workers.job import JobContext
from workers.judges.base import JudgeItem
from workers.judges.material import Material, response_of
from workers.judges.opening import open_judge
from workers.judges.waiting import Judging
from workers.lm.model import LanguageModel

AT_ONCE = 16
"""Number of responses scored between two checks whether the job must stop; their scores are one cell."""


def vetted(
    lm: LanguageModel, examples: Sequence[Prompted], trait: TraitDataset, how: Vetting, context: JobContext
) -> list[Prompted]:
    """Returns the examples, with `kept` False where the judge scored the response on the wrong side of the threshold, or could not score it.

    `paired` drops both examples of a pair: the i-th positive and the i-th negative of a cluster. Raises what the judge raises.
    """
    context.phase("vetting", len(examples), "responses")
    longest = max((len(example.response_ids) for example in examples), default=1)
    judge = open_judge(how["judge"], lm, Material(trait, [response_of(example) for example in examples], longest), context)
    items = [
        JudgeItem(example.prompt, example.system_prompt, example.response, example.response_ids, example.ids)
        for example in examples
    ]
    with closing(judge), Judging(judge, context) as judging:
        scores: list[float | None] = []
        for start in range(0, len(items), AT_ONCE):
            scores += _scores(judging, items, start, context)
            context.progress(len(scores))
    good = [
        score is not None and (score >= how["threshold"]) == example.positive
        for example, score in zip(examples, scores, strict=True)
    ]
    if how["paired"]:
        places = _pair_places(examples)
        bad = {place for place, fine in zip(places, good, strict=True) if not fine}
        good = [place not in bad for place in places]
    return [replace(example, kept=fine) for example, fine in zip(examples, good, strict=True)]


def _scores(judging: Judging, items: Sequence[JudgeItem], start: int, context: JobContext) -> list[float | None]:
    """The trait scores of AT_ONCE items from `start`: those of an earlier attempt, or the judge's."""
    cell = f"vetting/{start:05d}"
    stored = context.cell(cell)
    if stored is not None:
        kept: list[float | None] = json.loads(stored)
        return kept
    scores = [score.trait for score in judging.score(items[start : start + AT_ONCE], start)]
    context.commit_cell(cell, json.dumps(scores, separators=(",", ":")).encode())
    if start + AT_ONCE < len(items):
        context.may_yield()
    return scores


def _pair_places(examples: Sequence[Prompted]) -> list[tuple[str, int]]:
    """Each example's cluster and rank within its class there, which the two examples of a pair share."""
    seen: Counter[tuple[str, str]] = Counter()
    places = []
    for example in examples:
        places.append((example.cluster, seen[example.cluster, example.label]))
        seen[example.cluster, example.label] += 1
    return places
