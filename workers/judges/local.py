"""Judges with a chat model on this worker's device, from the exact distribution of its next token, without sampling or network.

Where the tokenizer splits "85", each score is read over a prefix tree of all 101 numbers, end token included (`prefix_tree`). In float32 every
prompt is run alone, so that no score depends on a batch; 16-bit models, for which batches can change scores, run in batches.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

import torch

from terms.documents.judge import JudgeIdentity
from terms.documents.trait import TraitDataset
from terms.judging import NUMBERS
from workers.job import JobFault
from workers.judges.base import JudgeItem, Score, done
from workers.judges.prefix_tree import PrefixTree
from workers.judges.prompts import ENGAGES, Kind, messages, prompt_hash
from workers.judges.replies import Parsed, combined, expectation
from workers.lm.errors import ModelFault
from workers.lm.likelihood import next_token_log_probabilities
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt, render_chat
from workers.lm.verbatim import verbatim

VERSION = "2"
KEPT = 20
"""Number of the likeliest words that are stored with a score."""


class LocalJudge:
    """Scores with a registered model. `name` is the judge's name, `model` the registered model's."""

    uses_device = True

    def __init__(
        self,
        lm: LanguageModel,
        trait: TraitDataset,
        *,
        name: str,
        model: str,
        relevance: bool = True,
        batch_rows: int = 16,
    ) -> None:
        """Raises JobFault judge_unusable for a model without a chat template, or with a tokenizer that cannot keep special tokens apart from
        their names in a text."""
        if not lm.tokenizer.chat_template:
            raise JobFault(
                "judge_unusable",
                f"The judge {name} is the model {model}, which has no chat template, so it cannot be asked. Name another judge.",
            )
        try:
            verbatim(lm.tokenizer)
        except ModelFault as fault:
            raise JobFault(
                "judge_unusable",
                f"The judge {name} is the model {model}, which has no tokenizer.json, so a text with the name of a special token could "
                "answer for the judge. Name another judge.",
            ) from fault
        # "text": a judged text that names special tokens opens no turn of its own
        self._lm = replace(lm, special_tokens="text")
        self._trait, self._name, self._model = trait, name, model
        self._kinds: tuple[Kind, ...] = ("trait", "coherence", "relevance") if relevance else ("trait", "coherence")
        self._batch_rows = 1 if lm.dtype == torch.float32 else batch_rows
        self._ids = {word: _ids_after_a_chat(lm, word) for word in (*NUMBERS, *ENGAGES)}
        self._trees = {
            values: PrefixTree({word: self._ids[word] for word in values}, lm.eos_ids) for values in (_NUMBERS, _ENGAGES)
        }
        self._known: dict[tuple[Kind, str, str], Parsed] = {}
        self._tally: Counter[str] = Counter()

    @property
    def identity(self) -> JudgeIdentity:
        """The judge's name, its model and weights, and the hash of its prompts."""
        return {
            "name": self._name,
            "version": VERSION,
            "prompt_hash": prompt_hash(self._trait, "numbers"),
            "kind": "local",
            "model": self._model,
            "weight_hash": self._lm.facts.weight_hash,
            **self._lm.facts.reading,
            "scale": "prefix tree" if self._trees[_NUMBERS].splits else "numbers",
        }

    @property
    def tally(self) -> Mapping[str, int]:
        """Counts of items, prompts read, replies, and failures by kind."""
        return dict(self._tally)

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        """Returns scores in order; equal questions about equal answers are asked once."""
        for kind in self._kinds:
            self._read(kind, [item for item in items if item.text.strip() or kind == "trait"])
        scores = []
        for item in items:
            kinds = self._kinds if item.text.strip() else ("trait",)
            scores.append(combined(item, {kind: self._known[_key(kind, item)] for kind in kinds}))
        self._tally["items"] += len(items)
        return scores

    def submit(self, items: Sequence[JudgeItem]) -> Future[list[Score]]:
        """Runs `score` at once and returns its result, because the judge runs on the device that generates."""
        return done(self.score(items))

    def close(self) -> None:
        """Does nothing: the judge has no running requests."""

    def _read(self, kind: Kind, items: Sequence[JudgeItem]) -> None:
        """Reads the replies of one kind for all items that were not asked about yet."""
        fresh = {_key(kind, item): item for item in items if _key(kind, item) not in self._known}
        words = _ENGAGES if kind == "relevance" else _NUMBERS
        prompts = {key: self._prompt(kind, item) for key, item in fresh.items()}
        fitting = {key: ids for key, ids in prompts.items() if len(ids) + self._trees[words].longest <= self._lm.context_length}
        for key, probabilities in zip(fitting, self._probabilities(list(fitting.values()), words), strict=True):
            self._known[key] = _parsed(probabilities, ENGAGES if kind == "relevance" else NUMBERS)
        for key in prompts.keys() - fitting.keys():
            self._known[key] = Parsed(None, 0.0, {}, failure="does not fit the judge's context")
        failed = sum(self._known[key].failure is not None for key in fresh)
        self._tally.update({"replies": len(fresh), **({f"failed_{kind}": failed, "failed": failed} if failed else {})})

    def _prompt(self, kind: Kind, item: JudgeItem) -> list[int]:
        system, user = messages(kind, item, self._trait, "numbers")
        return encode_prompt(self._lm, user["content"], system["content"])

    def _probabilities(self, prompts: Sequence[Sequence[int]], words: tuple[str, ...]) -> list[dict[str, float]]:
        tree = self._trees[words]
        if tree.splits:
            distributions = []
            for prompt in prompts:
                distributions.append(tree.probabilities(self._lm, prompt))
                self._count_read(1)
            return distributions
        columns = [self._ids[word][0] for word in words]
        rows = next_token_log_probabilities(self._lm, prompts, columns, batch_rows=self._batch_rows, on_rows=self._count_read)
        return [{word: math.exp(value) for word, value in zip(words, row, strict=True)} for row in rows]

    def _count_read(self, prompts: int) -> None:
        self._tally["read"] += prompts


_NUMBERS, _ENGAGES = tuple(NUMBERS), tuple(ENGAGES)


def _key(kind: Kind, item: JudgeItem) -> tuple[Kind, str, str]:
    return (kind, "" if kind == "coherence" else item.question, item.text)


def _parsed(probabilities: Mapping[str, float], values: Mapping[str, float]) -> Parsed:
    score, mass = expectation(probabilities, values)
    likeliest = sorted(probabilities.items(), key=lambda pair: (-pair[1], pair[0]))[:KEPT]
    top = {word: round(math.log(p), 4) for word, p in likeliest if p > 0}
    return Parsed(score, mass, top, failure=None if score is not None else "low_mass")


def _ids_after_a_chat(lm: LanguageModel, word: str) -> tuple[int, ...]:
    """The ids of a word at the beginning of a chat answer: a tokenizer may put a space before a word that stands alone."""
    try:
        chat = render_chat(lm.tokenizer, "?")
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault
    before, together = (lm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (chat, chat + word))
    if len(together) > len(before) and together[: len(before)] == before:
        return tuple(together[len(before) :])
    return tuple(lm.tokenizer(word, add_special_tokens=False)["input_ids"])
