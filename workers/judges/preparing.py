"""Stores the partial results of fitting a reference judge in a job's cells: answers when they end, likelihoods every few seconds, with a total
in tokens for each. An attempt that was killed or yielded the device repeats none of this work.

Likelihoods are settled (workers/lm/likelihood.py), so in float32 they do not depend on which rows were computed together. Texts are read in
small pieces, so that a job on a slow model reports progress and can yield soon.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence

from terms.documents.judge import FittedDocument
from workers.job import Interruption, JobContext
from workers.lm.answering import answer_all
from workers.lm.kept_prompts import KeptPrompts
from workers.lm.likelihood import OnRows, settled_log_likelihoods
from workers.lm.model import LanguageModel

PIECE_TOKENS = 2048
"""Tokens read between two checks whether the job must stop; a longer text is read whole."""
KEEP_SECONDS = 5.0
"""Cells are stored this often: a kill loses at most the work of so many seconds and of one piece."""
ANSWERING_PART = 0.6
"""The share of answering in a fit's part of the job."""

Ids = tuple[int, ...]
Row = tuple[Ids, Ids]
"""A prompt's ids and the ids of the text after it."""
Scores = Callable[[Sequence[Row]], list[float]]
"""The settled mean log-likelihood of each text after its prompt."""


def likelihoods(
    lm: LanguageModel,
    batch_rows: int,
    rows: Sequence[Row],
    *,
    on_rows: OnRows | None = None,
    kept: KeptPrompts | None = None,
) -> list[float]:
    """The likelihoods of the rows, in order, without storing them. Raises the same ModelFaults as `settled_log_likelihoods`.

    kept: the keys and values of prompts that were read before.
    """
    prompts, texts = [prompt for prompt, _ in rows], [text for _, text in rows]
    return settled_log_likelihoods(lm, prompts, texts, batch_rows=batch_rows, on_rows=on_rows, kept=kept)


class Preparing:
    """The cells of one fit in a job. `share` is the part of the whole job that the fit takes (`JobContext.phase`)."""

    def __init__(self, context: JobContext, name: str, key: str, share: float | None) -> None:
        self._context, self._name, self._share = context, name, share
        self._prefix = f"preparing/{name[:60]}-{key[:16]}"

    def kept_classifier(self) -> FittedDocument | None:
        """The classifier that an earlier attempt stored, or None."""
        stored = self._context.cell(f"{self._prefix}/classifier")
        fitted: FittedDocument | None = None if stored is None else json.loads(stored)
        return fitted

    def keep_classifier(self, fitted: FittedDocument) -> None:
        """Stores the classifier for later attempts."""
        self._context.commit_cell(f"{self._prefix}/classifier", json.dumps(fitted, separators=(",", ":")).encode())

    def answers(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
        """The model's greedy answers. Raises the same ModelFaults as `generate_greedy`."""
        if not prompts:
            return []
        share = None if self._share is None else self._share * ANSWERING_PART
        self._context.phase(f"preparing the judge of {self._name}: answering", len(prompts) * new_tokens, "tokens", share=share)
        return answer_all(lm, prompts, new_tokens, self._context, prefix=f"{self._prefix}/answers")[0]

    def scores(self, lm: LanguageModel, total: int, batch_rows: int) -> Scores:
        """Returns the function that computes likelihoods of about `total` tokens of texts and stores them."""
        share = None if self._share is None else self._share * (1 - ANSWERING_PART)
        self._context.phase(f"preparing the judge of {self._name}: reading", total, "tokens", share=share)
        return _KeptScores(lm, self._context, f"{self._prefix}/readings", batch_rows).of


class _KeptScores:
    """Likelihoods by the hash of their row, starting with those of earlier attempts."""

    def __init__(self, lm: LanguageModel, context: JobContext, prefix: str, batch_rows: int) -> None:
        self._lm, self._context, self._prefix, self._batch_rows = lm, context, prefix, batch_rows
        self._known: dict[str, float] = {}
        self._fresh: dict[str, float] = {}
        self._done, self._cells, self._kept_at = 0, 0, time.monotonic()
        while (stored := context.cell(self._next)) is not None:
            self._known |= json.loads(stored)
            self._cells += 1

    @property
    def _next(self) -> str:
        return f"{self._prefix}/{self._cells:03d}"

    def of(self, rows: Sequence[Row]) -> list[float]:
        """The likelihoods, in order."""
        names = {row: hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32] for row in dict.fromkeys(rows)}
        try:
            for piece in _pieces(list(names)):
                fresh = any(names[row] not in self._known for row in piece)
                if fresh:
                    # the count stays: reporting it raises where the job must stop
                    log_likelihoods = likelihoods(
                        self._lm, self._batch_rows, piece, on_rows=lambda _rows: self._context.progress(self._done)
                    )
                    self._fresh |= zip([names[row] for row in piece], log_likelihoods, strict=True)
                    self._known |= self._fresh
                self._done += sum(len(text) for _, text in piece)
                # pieces of an earlier attempt are counted with the first of this one, so that they do not look like its pace
                if fresh:
                    self._context.progress(self._done)
                if time.monotonic() - self._kept_at >= KEEP_SECONDS:
                    self._keep()
                self._context.may_yield()
            self._keep()
        except Interruption:
            self._keep()
            raise
        return [self._known[names[row]] for row in rows]

    def _keep(self) -> None:
        """Stores the likelihoods. Raises what the context raises when the job may no longer write."""
        fresh, self._fresh, self._kept_at = self._fresh, {}, time.monotonic()
        if fresh:
            self._context.commit_cell(self._next, json.dumps(fresh, separators=(",", ":")).encode())
            self._cells += 1


def _pieces(rows: Sequence[Row]) -> list[list[Row]]:
    """Groups rows with equal prompts and cuts them into pieces of PIECE_TOKENS. The plan is fixed, so that each attempt computes the same rows
    together."""
    order = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in rows))}
    pieces: list[list[Row]] = []
    tokens = PIECE_TOKENS
    for prompt, text in sorted(rows, key=lambda row: order[row[0]]):
        if tokens >= PIECE_TOKENS:
            pieces.append([])
            tokens = 0
        shared = bool(pieces[-1]) and pieces[-1][-1][0] == prompt
        pieces[-1].append((prompt, text))
        tokens += len(text) + (0 if shared else len(prompt))
    return pieces
