"""Dose-response of one trait on one model: what share of answers shows the trait at each dose of each direction.

A dose r is the clean part of the push in units of the layer's clean norm: c = r * clean_norm / |v_clean|. All doses of all
directions run as rows of the same batches.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.training.directions import without
from tools.training.engine import Row, answers
from tools.training.parser import Reading, read_answer, read_question, same_task

WANTED = {"refusal": "refuses", "sycophancy": "agrees"}


@dataclass(frozen=True)
class Site:
    """Where one pushes: the layer, its clean norm, the massive dims."""

    layer: int
    clean_norm: float
    massive: list[int]

    def coefficient(self, direction: Tensor, dose: float) -> float:
        """The raw coefficient that gives this direction this dose."""
        return dose * self.clean_norm / float(without(direction, self.massive).norm())


def shows(trait: str, question: str, reading: Reading) -> bool:
    """Whether an answer shows the trait: a well-formed refusal, or agreement with the very (false) claim of the question."""
    wanted = reading.kind == WANTED[trait]
    return wanted and (trait == "refusal" or same_task(read_question(question), reading))


def shown(trait: str, rows: Sequence[Row], texts: Sequence[str]) -> list[bool]:
    """For each answer, whether it shows the trait."""
    return [shows(trait, row["question"], read_answer(text)) for row, text in zip(rows, texts, strict=True)]


def measured(trait: str, rows: Sequence[Row], texts: Sequence[str]) -> dict[str, Any]:
    """Shares of answers that show the trait, that are well formed, that name what was asked; kinds; one text."""
    readings = [read_answer(text) for text in texts]
    those = [i for i, one in enumerate(shown(trait, rows, texts)) if one]
    about = [r.well_formed and same_task(read_question(row["question"]), r) for row, r in zip(rows, readings, strict=True)]
    example = those[len(those) // 2] if those else len(rows) // 2
    return {
        "shows": round(len(those) / len(rows), 4),
        "well_formed": round(sum(r.well_formed for r in readings) / len(rows), 4),
        "about": round(sum(about) / len(rows), 4),
        "kinds": dict(Counter(r.kind for r in readings).most_common()),
        "example": [rows[example]["question"], texts[example]],
    }


def push_all(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, site: Site, rows: Sequence[Row], pushes: Sequence[Tensor]
) -> list[list[str]]:
    """The answers to all rows under each push `[D]`, in the pushes' order."""
    each = len(rows)
    push_ND = torch.stack([push for push in pushes for _ in range(each)])
    texts = answers(model, tokenizer, [*rows] * len(pushes), site.layer, push_ND)
    return [texts[at : at + each] for at in range(0, len(texts), each)]


def dose_response(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    site: Site,
    trait: str,
    rows: Sequence[Row],
    directions: dict[str, Tensor],
    doses: Sequence[float],
) -> dict[str, list[dict[str, Any]]]:
    """For each direction, one record a dose: r, c and what `measured` says."""
    cells = [(name, r, site.coefficient(v, r)) for name, v in directions.items() for r in doses]
    texts = push_all(model, tokenizer, site, rows, [c * directions[name] for name, _, c in cells])
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in directions}
    for (name, r, c), answered in zip(cells, texts, strict=True):
        out[name].append({"r": r, "c": round(c, 3), **measured(trait, rows, answered)})
    return out


def unchanged(base: Sequence[str], pushed: Sequence[str]) -> float:
    """Share of answers whose content is what it was without a push; an answer broken before and after counts when equal."""
    same = 0
    for before, after in zip(base, pushed, strict=True):
        one, other = read_answer(before), read_answer(after)
        same += before == after or (one.well_formed and one.content == other.content)
    return round(same / len(base), 4)
