"""How likely an unsteered model finds an answer: mean log-likelihood per answer token in nats, teacher-forced, in batches.

    l(answer | prompt) = 1/n sum_t log p(answer_t | prompt, answer_<t)

The LM head runs at answer positions only, a few at a time, so that memory does not grow with vocabulary x tokens. Rows are padded on
the right, where causal attention cannot see them. `SharedPrompt` computes a prompt once for many answers. Shapes: B rows, T positions,
N answer tokens of a batch, D width, V vocabulary.

Other batches give float32 sums in another order; a mean differs by up to 6e-6 nats between them (seen on every known architecture;
tests/ml/test_likelihood.py asserts a third of MARGIN). `settled` turns that into values that do not depend on the batch at all: rounded to
PRECISION, and where a value lies within MARGIN of the border between two roundings, computed again alone. In 16-bit types nothing of the
kind is promised.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.lm.errors import ModelFault
from workers.lm.head import logits_of
from workers.lm.memory import with_halving
from workers.lm.model import LanguageModel

PRECISION = 0.01
MARGIN = 2e-5
WORTH_SHARING = 6
"""Answers of one prompt from which computing the prompt apart costs less than computing it with each."""
HEAD_BYTES = 64 << 20
"""The logits that are held at once."""

OnRows = Callable[[int], None]
Value = TypeVar("Value")


def mean_log_likelihoods(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    batch_rows: int,
    on_rows: OnRows | None = None,
) -> list[float]:
    """Mean log-likelihood of each answer after its own prompt, in order. `on_rows(count)` follows every batch and may raise.

    Raises ModelFault empty_answer, empty_prompt, prompt_too_long, token_out_of_range, activations_not_finite, OutOfMemory.
    """
    for prompt, answer in zip(prompts, answers, strict=True):
        _check(lm, prompt, answer)

    def run(batch: Sequence[int]) -> list[float]:
        rows = [[*prompts[i], *answers[i][:-1]] for i in batch]  # the last answer token predicts nothing that is asked for
        with torch.no_grad():
            hidden_BTD = lm.layout.decoder(input_ids=_right_padded(lm, rows), use_cache=False).last_hidden_state
            spans = [(len(prompts[i]) - 1, len(answers[i])) for i in batch]
            found = _means(_token_scores(lm, hidden_BTD, spans, [answers[i] for i in batch]), [len(answers[i]) for i in batch])
        if on_rows is not None:
            on_rows(len(batch))
        return found

    return _in_batches(run, [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)], batch_rows)


class SharedPrompt:
    """One prompt, computed once, after which many answers are scored: its keys and values are shared by all rows of a batch.

    A model with state of another kind computes the prompt with each row: state that every row changes cannot be shared as a view.
    """

    def __init__(self, lm: LanguageModel, ids: Sequence[int]) -> None:
        """Raises ModelFault empty_prompt, prompt_too_long, token_out_of_range."""
        lm.check_ids(ids, 1)
        self.ids = tuple(ids)
        self._lm = lm
        self._shared = not lm.layout.grouped
        # keeps all tokens: told of the config, it would cut to a sliding window that the model's class may not have
        self._cache = DynamicCache()
        with torch.no_grad():
            row = torch.tensor([list(ids)], device=lm.device)
            cache = {"past_key_values": self._cache} if self._shared else {}
            hidden_BTD = lm.layout.decoder(input_ids=row, use_cache=self._shared, **cache).last_hidden_state
            self._first_V = _log_probabilities(lm, hidden_BTD[0, -1:])[0]

    def mean_log_likelihoods(
        self, answers: Sequence[Sequence[int]], *, batch_rows: int, on_rows: OnRows | None = None
    ) -> list[float]:
        """Mean log-likelihood of each answer after this prompt, in order. Raises as the function of that name."""
        lm = self._lm
        for answer in answers:
            _check(lm, self.ids, answer)

        def run(batch: Sequence[int]) -> list[float]:
            texts = [answers[i] for i in batch]
            with torch.no_grad():
                first_B = self._first_V[torch.tensor([text[0] for text in texts], device=lm.device)]
                scores = [first_B.double().tolist()]
                if max(map(len, texts)) > 1:
                    hidden_BTD = self._after_prompt([text[:-1] for text in texts])
                    spans = [(0, len(text) - 1) for text in texts]
                    rest_N = _token_scores(lm, hidden_BTD, spans, [text[1:] for text in texts])
                    scores.append(_sums(rest_N, [len(text) - 1 for text in texts]))
            if on_rows is not None:
                on_rows(len(batch))
            return [sum(parts) / len(text) for *parts, text in zip(*scores, texts, strict=True)]

        return _in_batches(run, [len(answer) for answer in answers], batch_rows)

    def log_probabilities(self, continuations: Sequence[Sequence[int]], columns: Sequence[int]) -> list[Tensor]:
        """For each non-empty continuation of n tokens the log-probabilities [n + 1, len(columns)] (float64, CPU) of the `columns` as the
        token after the prompt, after its first token, and so on to after its last. All continuations are one batch."""
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
            rows = _right_padded(self._lm, [[*self.ids, *row] for row in continuations])
            alone: Tensor = decoder(input_ids=rows, use_cache=False).last_hidden_state
            return alone[:, len(self.ids) :]
        rows = _right_padded(self._lm, continuations)
        found: Tensor = decoder(
            input_ids=rows, past_key_values=self._for_rows(len(continuations)), use_cache=True
        ).last_hidden_state
        return found

    def _for_rows(self, rows: int) -> DynamicCache:
        """The prompt's cache as seen by every row of a batch: views, which the forward pass extends by copies."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in cache.layers:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
        return cache


def next_token_log_probabilities(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], columns: Sequence[int], *, batch_rows: int
) -> list[list[float]]:
    """The log-probability of each of `columns` as the token after each prompt, [len(prompts)][len(columns)]. Raises ModelFault as
    `mean_log_likelihoods`."""
    for prompt in prompts:
        lm.check_ids(prompt)
    chosen = torch.tensor(columns, device=lm.device)

    def run(batch: Sequence[int]) -> list[list[float]]:
        with torch.no_grad():
            rows = _right_padded(lm, [prompts[i] for i in batch])
            hidden_BTD = lm.layout.decoder(input_ids=rows, use_cache=False).last_hidden_state
            last_B = torch.tensor([len(prompts[i]) - 1 for i in batch], device=lm.device)
            hidden_BD = hidden_BTD[torch.arange(len(batch), device=lm.device), last_B]
            found: list[list[float]] = _log_probabilities(lm, hidden_BD)[:, chosen].double().cpu().tolist()
            return found

    return _in_batches(run, [len(prompt) for prompt in prompts], batch_rows)


def log_likelihood_alone(lm: LanguageModel, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """The mean log-likelihood of one row by itself, unpadded and without a cache: the reference for every other way."""
    return mean_log_likelihoods(lm, [prompt], [answer], batch_rows=1)[0]


def settled(
    lm: LanguageModel, values: Sequence[float], prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[float]:
    """The values rounded to PRECISION; one that lies within MARGIN of a border is computed again alone. Float32 models only; for others
    it only rounds."""
    found = []
    for value, prompt, answer in zip(values, prompts, answers, strict=True):
        steps = value / PRECISION
        near = abs(steps - math.floor(steps) - 0.5) * PRECISION < MARGIN
        sure = log_likelihood_alone(lm, prompt, answer) if near and lm.dtype == torch.float32 else value
        found.append(round(round(sure / PRECISION) * PRECISION, 6))
    return found


def settled_log_likelihoods(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    batch_rows: int,
    on_rows: OnRows | None = None,
) -> list[float]:
    """The settled mean log-likelihood of each answer after its prompt, each distinct pair computed once, prompts that many answers follow
    computed once. Raises as `mean_log_likelihoods`."""
    pairs = [(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
    by_prompt: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for prompt, answer in dict.fromkeys(pairs):
        by_prompt.setdefault(prompt, []).append(answer)
    values: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    rest = []
    for prompt, texts in by_prompt.items():
        if len(texts) < WORTH_SHARING or lm.layout.grouped:
            rest += [(prompt, text) for text in texts]
            continue
        found = SharedPrompt(lm, prompt).mean_log_likelihoods(texts, batch_rows=batch_rows, on_rows=on_rows)
        values |= zip([(prompt, text) for text in texts], settled(lm, found, [prompt] * len(texts), texts), strict=True)
    alone, texts = [prompt for prompt, _ in rest], [text for _, text in rest]
    found = mean_log_likelihoods(lm, alone, texts, batch_rows=batch_rows, on_rows=on_rows)
    values |= zip(rest, settled(lm, found, alone, texts), strict=True)
    return [values[pair] for pair in pairs]


def _check(lm: LanguageModel, prompt: Sequence[int], answer: Sequence[int]) -> None:
    if not answer:
        raise ModelFault("empty_answer", "An answer without tokens has no likelihood.")
    lm.check_ids(prompt, len(answer))
    lm.check_ids(answer)


def _in_batches(run: Callable[[Sequence[int]], list[Value]], lengths: Sequence[int], batch_rows: int) -> list[Value]:
    """`run` over all indices, longest rows first, in the original order again."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    by_index = dict(zip(order, with_halving(run, order, batch_rows), strict=True)) if order else {}
    return [by_index[i] for i in range(len(order))]


def _right_padded(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Ids [B, T]. No attention mask is needed: causal attention never looks right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[lm.pad_id] * (longest - len(row))] for row in rows], device=lm.device)


def _token_scores(
    lm: LanguageModel, hidden_BTD: Tensor, spans: Sequence[tuple[int, int]], targets: Sequence[Sequence[int]]
) -> Tensor:
    """Log-likelihood of every target, [N] float32, rows one after another: those of row b are predicted at `spans[b]` = (start, count)."""
    width = hidden_BTD.shape[1]
    flat = [b * width + t for b, (start, count) in enumerate(spans) for t in range(start, start + count)]
    hidden_ND = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])[torch.tensor(flat, device=lm.device, dtype=torch.long)]
    target_N = torch.tensor([token for row in targets for token in row], device=lm.device, dtype=torch.long)
    chunk = max(1, HEAD_BYTES // (4 * lm.vocab_size))
    parts = [
        _log_probabilities(lm, hidden).gather(-1, target[:, None])[:, 0]
        for hidden, target in zip(torch.split(hidden_ND, chunk), torch.split(target_N, chunk), strict=True)
    ]
    return torch.cat(parts) if parts else hidden_ND.new_zeros(0, dtype=torch.float32)


def _log_probabilities(lm: LanguageModel, hidden_ND: Tensor) -> Tensor:
    """Next-token log-probabilities [N, V] in float32 of final hidden states. Raises ModelFault activations_not_finite."""
    logits_NV = logits_of(lm, hidden_ND).float()
    if not torch.isfinite(logits_NV).all():
        raise ModelFault(
            "activations_not_finite",
            "The model's logits are not finite. In float16 a massive dimension overflows (beyond 65,504): use another dtype.",
        )
    return logits_NV.log_softmax(-1)


def _sums(scores_N: Tensor, counts: Sequence[int]) -> list[float]:
    return [float(part.sum()) for part in torch.split(scores_N.double().cpu(), list(counts))]


def _means(scores_N: Tensor, counts: Sequence[int]) -> list[float]:
    return [total / count for total, count in zip(_sums(scores_N, counts), counts, strict=True)]
