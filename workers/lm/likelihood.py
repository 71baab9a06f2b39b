"""Computes how likely an unsteered model finds an answer: mean log-likelihood per answer token in nats, teacher-forced, in batches.

    l(answer | prompt) = 1/n sum_t log p(answer_t | prompt, answer_<t)

Rows share their common prefixes by a plan (`prefixes`): a prompt that many answers follow, a beginning that many answers have, and a template
are computed once. The LM head runs once for each distinct position that predicts an answer's token, a few positions at a time, so that memory
does not grow with vocabulary x tokens. `SharedPrompt` gives the log-probabilities of chosen tokens after one prompt and after each token of
its continuations. Shapes: B segments, T positions, N predicting positions, M scores, D width, V vocabulary.

Other batches sum float32 in another order, which changes a mean by up to 6e-6 nats (seen on every known architecture;
tests/ml/lm/test_likelihood.py asserts that it stays below a third of MARGIN). `settled` makes the values independent of the batches: they are
rounded to PRECISION, and a value within MARGIN of the boundary between two rounded values is computed again alone. None of this holds in 16-bit
types.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.head import logits_of
from workers.lm.kept_prompts import KeptPrompts
from workers.lm.memory import with_halving
from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import reading_tokens
from workers.lm.prefixes import Pass
from workers.lm.sharing import Inputs, fill, plan_for, run_plan

PRECISION = 0.01
MARGIN = 2e-5
HEAD_BYTES = 64 << 20
"""The most bytes of logits held at the same time."""

OnRows = Callable[[int], None]
Value = TypeVar("Value")


def mean_log_likelihoods(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    batch_rows: int,
    on_rows: OnRows | None = None,
    kept: KeptPrompts | None = None,
) -> list[float]:
    """Returns the mean log-likelihood of each answer after its own prompt, in order. A pass holds at most `batch_rows` times the longest row.
    `on_rows(count)` is called after every pass and may raise. Prompts that are `kept` are not computed again.

    Raises ModelFault empty_answer, empty_prompt, prompt_too_long, token_out_of_range, activations_not_finite; OutOfMemory.
    """
    for prompt, answer in zip(prompts, answers, strict=True):
        _check(lm, prompt, answer)
    totals = _after_kept(lm, prompts, answers, batch_rows, on_rows, kept) if kept is not None else {}
    missing = [index for index in range(len(answers)) if index not in totals]
    # the last answer token predicts no token of the answer
    rows = [[*prompts[i], *answers[i][:-1]] for i in missing]
    most = min(reading_tokens(lm), batch_rows * max(map(len, rows), default=0))
    # `run_plan` has tried a pass twice in its shape before it raises. Finished rows keep their totals, and the rest is planned in smaller
    # passes instead of failing the job: values then differ by rounding alone, which `settled` removes in float32.
    while missing:
        reading = _Reading(lm, rows, [answers[i] for i in missing], on_rows)
        try:
            run_plan(lm, plan_for(lm, reading.rows, pass_tokens=most), reading.rows, reading.forward)
        except OutOfMemory:
            if most == 1:
                raise
            most //= 2
        totals |= {missing[place]: reading.totals[place] for place in reading.done}
        rows = [row for place, row in enumerate(rows) if place not in reading.done]
        missing = [index for place, index in enumerate(missing) if place not in reading.done]
    return [totals[index] / len(answer) for index, answer in enumerate(answers)]


def _after_kept(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    batch_rows: int,
    on_rows: OnRows | None,
    kept: KeptPrompts,
) -> dict[int, float]:
    """Returns the summed log-likelihood of each answer with a kept prompt, by the answer's index. If memory runs out, returns only the answers
    computed so far, frees the kept prompts and keeps none later.

    A prompt's last hidden state predicts the first token. The other tokens follow in passes over rows of different prompts.
    """
    held = kept.among(prompts)
    some = [index for index, prompt in enumerate(prompts) if tuple(prompt) in held]
    totals = _first_scores(lm, [held[tuple(prompts[i])] for i in some], [answers[i][0] for i in some])
    rows = [[*prompts[i], *answers[i][:-1]] for i in some]
    reading = _Reading(lm, rows, [answers[i] for i in some], on_rows)
    reading.done = {place for place, i in enumerate(some) if len(answers[i]) == 1}
    if reading.done and on_rows is not None:
        on_rows(len(reading.done))
    longer = [place for place in range(len(some)) if place not in reading.done]
    try:
        kept.run(longer, rows, [len(prompts[i]) for i in some], reading.forward, most_rows=batch_rows)
    except OutOfMemory:
        kept.forget()
    return {some[place]: totals[place] + reading.totals[place] for place in sorted(reading.done)}


def _first_scores(lm: LanguageModel, hidden: Sequence[Tensor], tokens: Sequence[int]) -> list[float]:
    """The log-likelihood of each token after the final hidden state [D] that predicts it; the head runs once for each distinct hidden state."""
    distinct = list({id(state): state for state in hidden}.values())
    row_of = {id(state): row for row, state in enumerate(distinct)}
    if not hidden:
        return []
    order = sorted(range(len(hidden)), key=lambda place: row_of[id(hidden[place])])
    with torch.no_grad():
        scores = _scores(lm, torch.stack(distinct), [(row_of[id(hidden[place])], tokens[place]) for place in order])
    by_place = dict(zip(order, scores, strict=True))
    return [by_place[place] for place in range(len(hidden))]


class _Reading:
    """Sums the log-likelihoods of answers while a plan's passes run. `done` are the rows that were read to the end."""

    def __init__(
        self, lm: LanguageModel, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], on_rows: OnRows | None
    ) -> None:
        self._lm, self.rows, self._answers, self._on_rows = lm, rows, answers, on_rows
        self.totals = [0.0] * len(rows)
        self.done: set[int] = set()

    def forward(self, pass_: Pass, inputs: Inputs) -> None:
        """Runs one pass and adds the scores of every token that a position in it predicts."""
        owners = self._predictions(pass_)
        if owners:
            self._score(owners, inputs)
        elif pass_.kept:
            fill(self._lm, inputs, self._lm.layout.n_layers - 1)
        ended = [row for segment in pass_.segments for row in segment.rows if segment.stop == len(self.rows[row])]
        self.done.update(ended)
        if self._on_rows is not None:
            self._on_rows(len(ended))

    def _score(self, owners: Mapping[tuple[int, int], Sequence[int]], inputs: Inputs) -> None:
        """Runs the pass and adds each owner's score."""
        with torch.no_grad():
            hidden_BTD = self._lm.layout.decoder(**inputs).last_hidden_state
            places = list(dict.fromkeys(place for place, _ in owners))
            hidden_ND = hidden_BTD.flatten(0, 1)[torch.tensor(places, device=self._lm.device, dtype=torch.long)]
            row_of = {place: row for row, place in enumerate(places)}
            scores = _scores(self._lm, hidden_ND, [(row_of[place], token) for place, token in owners])
        for score, rows in zip(scores, owners.values(), strict=True):
            for row in rows:
                self.totals[row] += score

    def _predictions(self, pass_: Pass) -> dict[tuple[int, int], list[int]]:
        """Maps (index in the flattened [B x T], predicted token) to the rows that need this score, in order of the index."""
        owners: dict[tuple[int, int], list[int]] = {}
        for number, segment in enumerate(pass_.segments):
            for row in segment.rows:
                answer = self._answers[row]
                first = len(self.rows[row]) - len(answer)  # the position that predicts the answer's first token
                for at in range(max(first, segment.start), segment.stop):
                    place = number * pass_.width + at - segment.start
                    owners.setdefault((place, answer[at - first]), []).append(row)
        return dict(sorted(owners.items()))


class SharedPrompt:
    """One prompt, computed once, with its keys and values shared by all continuations of a batch.

    A model with other kinds of state computes the prompt with each row, because state that every row changes cannot be shared as a view.
    """

    def __init__(self, lm: LanguageModel, ids: Sequence[int]) -> None:
        """Computes the prompt. Raises ModelFault empty_prompt, prompt_too_long, token_out_of_range."""
        lm.check_ids(ids, 1)
        self.ids = tuple(ids)
        self._lm = lm
        self._shared = not lm.layout.grouped
        # keeps all tokens: with the config, the cache would cut to a sliding window that the model's class may not have
        self._cache = DynamicCache()
        with torch.no_grad():
            row = torch.tensor([list(ids)], device=lm.device)
            cache = {"past_key_values": self._cache} if self._shared else {}
            hidden_BTD = lm.layout.decoder(input_ids=row, use_cache=self._shared, **cache).last_hidden_state
            self._first_V = _log_probabilities(lm, hidden_BTD[0, -1:])[0]

    def log_probabilities(self, continuations: Sequence[Sequence[int]], columns: Sequence[int]) -> list[Tensor]:
        """Returns for each non-empty continuation of n tokens the log-probabilities [n + 1, len(columns)] (float64, CPU) of the `columns` as the
        token after the prompt, after the continuation's first token, and so on to after its last. All continuations are one batch."""
        lm = self._lm
        for row in continuations:
            lm.check_ids([*self.ids, *row])
        chosen = torch.tensor(columns, device=lm.device)
        with torch.no_grad():
            hidden_BTD = self._after_prompt(continuations)
            first_1C = self._first_V[chosen][None]
            return [
                torch.cat([first_1C, _log_probabilities(lm, hidden_TD[: len(row)])[:, chosen]]).double().cpu()
                for hidden_TD, row in zip(hidden_BTD, continuations, strict=True)
            ]

    def _after_prompt(self, continuations: Sequence[Sequence[int]]) -> Tensor:
        """Final hidden states [B, T, D] at the tokens of each continuation."""
        decoder = self._lm.layout.decoder
        if not self._shared:
            rows = right_padded(self._lm, [[*self.ids, *row] for row in continuations])
            alone: Tensor = decoder(input_ids=rows, use_cache=False).last_hidden_state
            return alone[:, len(self.ids) :]
        rows = right_padded(self._lm, continuations)
        hidden_BTD: Tensor = decoder(
            input_ids=rows, past_key_values=self._for_rows(len(continuations)), use_cache=True
        ).last_hidden_state
        return hidden_BTD

    def _for_rows(self, rows: int) -> DynamicCache:
        """The prompt's cache for every row of a batch, as views that the forward pass extends by copies."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in cache.layers:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
        return cache


def next_token_log_probabilities(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    columns: Sequence[int],
    *,
    batch_rows: int,
    on_rows: OnRows | None = None,
) -> list[list[float]]:
    """The log-probability of each of `columns` as the token after each prompt, [len(prompts)][len(columns)]. `on_rows(count)` is called after
    every batch. Raises the same ModelFaults as `mean_log_likelihoods`."""
    for prompt in prompts:
        lm.check_ids(prompt)
    chosen = torch.tensor(columns, device=lm.device)

    def run(batch: Sequence[int]) -> list[list[float]]:
        with torch.no_grad():
            rows = right_padded(lm, [prompts[i] for i in batch])
            hidden_BTD = lm.layout.decoder(input_ids=rows, use_cache=False).last_hidden_state
            last_B = torch.tensor([len(prompts[i]) - 1 for i in batch], device=lm.device)
            hidden_BD = hidden_BTD[torch.arange(len(batch), device=lm.device), last_B]
            log_probabilities: list[list[float]] = _log_probabilities(lm, hidden_BD)[:, chosen].double().cpu().tolist()
        if on_rows is not None:
            on_rows(len(batch))
        return log_probabilities

    return _in_batches(run, [len(prompt) for prompt in prompts], batch_rows)


def log_likelihood_alone(lm: LanguageModel, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """The mean log-likelihood of one row by itself, unpadded and without a cache. All other ways of computing are checked against it."""
    return mean_log_likelihoods(lm, [prompt], [answer], batch_rows=1)[0]


def settled(
    lm: LanguageModel, values: Sequence[float], prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[float]:
    """Rounds the values to PRECISION; a float32 value within MARGIN of a rounding border is first computed again alone. Values of other dtypes
    are only rounded."""
    rounded = []
    for value, prompt, answer in zip(values, prompts, answers, strict=True):
        steps = value / PRECISION
        near = abs(steps - math.floor(steps) - 0.5) * PRECISION < MARGIN
        sure = log_likelihood_alone(lm, prompt, answer) if near and lm.dtype == torch.float32 else value
        rounded.append(round(round(sure / PRECISION) * PRECISION, 6))
    return rounded


def settled_log_likelihoods(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    batch_rows: int,
    on_rows: OnRows | None = None,
    kept: KeptPrompts | None = None,
) -> list[float]:
    """The settled mean log-likelihood of each answer after its prompt, each distinct pair computed once. Raises the same errors as
    `mean_log_likelihoods`."""
    pairs = [(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
    distinct = list(dict.fromkeys(pairs))
    each, texts = [prompt for prompt, _ in distinct], [text for _, text in distinct]
    means = mean_log_likelihoods(lm, each, texts, batch_rows=batch_rows, on_rows=on_rows, kept=kept)
    values = dict(zip(distinct, settled(lm, means, each, texts), strict=True))
    return [values[pair] for pair in pairs]


def _check(lm: LanguageModel, prompt: Sequence[int], answer: Sequence[int]) -> None:
    if not answer:
        raise ModelFault("empty_answer", "An answer without tokens has no likelihood.")
    lm.check_ids(prompt, len(answer))
    lm.check_ids(answer)


def _in_batches(run: Callable[[Sequence[int]], list[Value]], lengths: Sequence[int], batch_rows: int) -> list[Value]:
    """Calls `run` on batches of indices, longest rows first, and returns the results in the original order."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    by_index = dict(zip(order, with_halving(run, order, batch_rows), strict=True)) if order else {}
    return [by_index[i] for i in range(len(order))]


def right_padded(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Ids [B, T]. No attention mask is needed, because causal attention never sees tokens to the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[lm.pad_id] * (longest - len(row))] for row in rows], device=lm.device)


def _scores(lm: LanguageModel, hidden_ND: Tensor, wanted: Sequence[tuple[int, int]]) -> list[float]:
    """The log-likelihood of each (row of `hidden_ND`, token) pair; the pairs are in order of their rows."""
    chunk = max(1, HEAD_BYTES // (4 * lm.vocab_size))
    scores: list[float] = []
    for start in range(0, len(hidden_ND), chunk):
        log_p_NV = _log_probabilities(lm, hidden_ND[start : start + chunk])
        row_M, token_M = torch.tensor([pair for pair in wanted if start <= pair[0] < start + chunk], device=lm.device).T
        scores += log_p_NV[row_M - start, token_M].double().cpu().tolist()
    return scores


def _log_probabilities(lm: LanguageModel, hidden_ND: Tensor) -> Tensor:
    """Next-token log-probabilities [N, V] in float32 of final hidden states. Raises ModelFault activations_not_finite."""
    logits_NV = logits_of(lm, hidden_ND).float()
    if not torch.isfinite(logits_NV).all():
        raise ModelFault(
            "activations_not_finite",
            "The model's logits are not finite. In float16 a massive dimension overflows (beyond 65,504): use another dtype.",
        )
    return logits_NV.log_softmax(-1)
