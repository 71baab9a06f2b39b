"""Measures a language model's residual stream over given rows, with one separate prefill per prompt, reduced inside the hooks.

A row's values depend only on its ids (B=1, no padding, no cache), and its sums are added in row order: the same rows give the same bits however
they were generated. Memory is O(layers x hidden size) plus the scalars of `tokenvalues`. Uses `workers.lm` to run the model; independent of
jobs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from workers.lm.capture import Reader, prefill, reading_once
from workers.lm.memory import with_second_try
from workers.lm.model import LanguageModel
from workers.science.aggregate import needed_dims
from workers.science.delimiters import Delimiters
from workers.science.residual import LayerReading, TokenSpan, norm_sum, read_layer
from workers.science.resuming import restore, to_bytes
from workers.science.statistics import PromptReading, RunningStatistics, Statistics
from workers.science.tokenvalues import TokenValues
from workers.science.watching import Watching

Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """A prompt's ids and the ids of the answer to it (possibly none)."""

    prompt: Sequence[int]
    answer: Sequence[int]

    @property
    def ids(self) -> list[int]:
        """The ids of the prompt and then of the answer."""
        return [*self.prompt, *self.answer]


class Listener:
    """Receives the progress of `measure` and may stop it by raising. This base class does nothing."""

    def measuring(self, prompts: int) -> None:
        """Called when the first pass begins, over `prompts` prompts."""

    def again(self, prompts: int) -> None:
        """Called when the second pass begins, over the `prompts` prompts that must be read again."""

    def read(self, done: int, state: Callable[[], bytes]) -> None:
        """Called after each prompt, when `done` prompts of the pass are read. `measure` can continue from `state()` later, as `kept`."""


def measure(
    lm: LanguageModel,
    rows: Sequence[Row],
    tokens: TokenValues,
    *,
    layers: Sequence[int],
    rule: str,
    listener: Listener | None = None,
    kept: bytes | None = None,
) -> Statistics:
    """Returns the statistics of `rows` at `layers` (ascending); `tokens` then holds the per-token values that `aggregate` needs.

    `kept` is a state that `listener` received earlier; `tokens` must then be new. Raises NonFiniteActivations, DegenerateActivations, ValueError
    when no row has an answer, the ModelFaults of `prefill`, OutOfMemory, and what the listener raises.
    """
    listener = listener or Listener()
    running = RunningStatistics(layers, lm.layout.n_layers, lm.layout.hidden_size, lm.device)
    watching = Watching(rule, running)
    if kept is not None:
        restore(kept, running, tokens, watching)
    state = partial(to_bytes, running, tokens, watching)
    delimiters = Delimiters(lm.tokenizer)
    listener.measuring(len(rows))
    for row in rows[running.prompts :]:
        ids = row.ids
        span = TokenSpan(len(row.prompt), len(row.answer), delimiters.first_after_start(ids))
        read = _read_prompt(lm, ids, span, running.layers, watching.dims)
        running.add(read.statistics())
        tokens.add_prompt(read.norm_squares(), read.dims, read.values)
        watching.look()
        listener.read(running.prompts, state)
    stats = running.result()
    for done in _read_missing(lm, rows, tokens, stats, rule, listener):
        listener.read(done, state)
    return stats


class _PromptPass:
    """Collects one prompt's readings as its forward pass goes up the layers."""

    def __init__(self, span: TokenSpan, dims: Sequence[Tensor]) -> None:
        self.span = span
        self.dims = dims
        self.layers: list[LayerReading] = []
        self.attn_norms: list[Tensor] = []
        self.mlp_norms: list[Tensor] = []
        self.values: list[Tensor] = []

    def readers(self) -> Mapping[str, Reader]:
        """The reader of each component's output, by the component's name."""
        return {
            "attn_contribution": lambda _layer, _component, x_BTD: self.attn_norms.append(norm_sum(x_BTD[0], self.span)),
            "mlp_contribution": lambda _layer, _component, x_BTD: self.mlp_norms.append(norm_sum(x_BTD[0], self.span)),
            "residual": lambda _layer, _component, h_BTD: self._residual(h_BTD[0]),
        }

    def _residual(self, h_TD: Tensor) -> None:
        nothing = h_TD.new_zeros((), dtype=torch.float64)  # a block without that addend adds 0
        for norms in (self.attn_norms, self.mlp_norms):
            norms.extend([nothing] * (len(self.layers) + 1 - len(norms)))
        dims_K = self.dims[len(self.layers)]
        self.layers.append(read_layer(h_TD, self.span))
        self.values.append(h_TD[self.span.prompt_tokens :, dims_K].float().abs())

    def norm_squares(self) -> list[Tensor]:
        """|h|^2 of each response token, float64 [R] per layer."""
        return [layer.norm_square for layer in self.layers]

    def statistics(self) -> PromptReading:
        """The sums of this prompt, to be added to the running statistics."""
        return PromptReading(self.span, self.layers, self.attn_norms, self.mlp_norms)


def _read_prompt(
    lm: LanguageModel, ids: Sequence[int], span: TokenSpan, layers: Sequence[int], dims: Sequence[Tensor]
) -> _PromptPass:
    def once() -> _PromptPass:
        prompt = _PromptPass(span, dims)
        with reading_once(lm, prompt.readers(), layers, where_present=True):
            prefill(lm, ids)
        return prompt

    return _with_second_try(once, len(ids))


def _read_missing(
    lm: LanguageModel, rows: Sequence[Row], tokens: TokenValues, stats: Statistics, rule: str, listener: Listener
) -> Iterator[int]:
    """Reads prompts again where a needed dim was not watched (`workers.science.watching`); yields the number of finished prompts."""
    missing = tokens.missing(needed_dims(stats, rule))
    if missing:
        listener.again(len(missing))
    for done, (prompt, dims_by_row) in enumerate(missing.items(), start=1):
        sizes_by_layer = _read_dims(lm, rows[prompt], {stats.layers[row]: dims for row, dims in dims_by_row.items()})
        for row, dims in dims_by_row.items():
            tokens.add_dims(prompt, row, torch.tensor(dims), sizes_by_layer[stats.layers[row]])
        yield done


def _read_dims(lm: LanguageModel, row: Row, dims_by_layer: Mapping[int, Iterable[int]]) -> dict[int, Tensor]:
    def once() -> dict[int, Tensor]:
        sizes_by_layer: dict[int, Tensor] = {}

        def residual(layer: int, _component: str, h_BTD: Tensor) -> None:
            sizes_by_layer[layer] = h_BTD[0, len(row.prompt) :, list(dims_by_layer[layer])].float().abs()

        with reading_once(lm, {"residual": residual}, dims_by_layer):
            prefill(lm, row.ids)
        together = torch.cat(list(sizes_by_layer.values()), dim=1).cpu()  # one copy, because each copy waits for the device
        return dict(
            zip(sizes_by_layer, torch.split(together, [each.shape[1] for each in sizes_by_layer.values()], dim=1), strict=True)
        )

    return _with_second_try(once, len(row.ids))


def _with_second_try(read: Callable[[], Result], n_tokens: int) -> Result:
    """Returns `read()`; if memory runs out, calls it once more after freeing the memory that generation held. Raises OutOfMemory."""
    said = (
        f"Reading one row of {n_tokens} tokens alone does not fit in memory. Shorten the prompts, request fewer "
        "new tokens, or use a smaller model or a larger device."
    )
    return with_second_try(read, lambda _failure: said)
