"""Activation rows: per example one mean over each window of tokens, at every layer and component asked for, from one forward pass.

Shapes: B batch rows, T positions, P windows, D width of a component, N examples. Nothing of [B, T, D] is kept: the means are taken inside the
hook, in float32. Batches are sorted by length and padded on the right, where a causal model's pads cannot reach a token of the row; so
there is no mask at all. The plan is a function of the examples alone, whatever memory is free: the same rows, to the last bit, until a
batch has to be halved. The LM head never runs, nor do layers above the highest one asked for.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terms.positions import Position
from workers.lm.capture import reading
from workers.lm.errors import ModelFault
from workers.lm.memory import with_halving
from workers.lm.model import LanguageModel

BATCH_ROWS = 32

Site = tuple[str, str, int]
"""(position, component, layer)."""


@dataclass(frozen=True)
class Example:
    """A prompt and the response that followed it, as ids: texts are never joined and tokenized again."""

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)

    def window(self, position: Position) -> range:
        """The indices that a position means here."""
        return position.window(len(self.prompt_ids), len(self.response_ids))


@dataclass(frozen=True, eq=False)
class Rows:
    """`values[site]` is float32 [N of the position, D] on the CPU, a row for each of `kept[position]`.

    Those are the examples whose window is not empty, in order.
    """

    values: Mapping[Site, Tensor]
    kept: Mapping[str, list[int]]
    halvings: int = 0

    def at(self, positions: Sequence[str], components: Sequence[str], layers: Sequence[int]) -> "Rows":
        """Those of these places alone."""
        sites = [(position, component, layer) for position in positions for component in components for layer in layers]
        return Rows({site: self.values[site] for site in sites}, {position: self.kept[position] for position in positions})


class _Enough(Exception):
    """Raised in the last hook of a pass: nothing above it is wanted."""


def gather_rows(
    lm: LanguageModel,
    examples: Sequence[Example],
    *,
    positions: Sequence[Position],
    components: Sequence[str],
    layers: Sequence[int],
    batch_rows: int = BATCH_ROWS,
    on_batch: Callable[[int], None] | None = None,
) -> Rows:
    """Every window mean of every example. `on_batch(done)` is called after each batch with the examples done, and may raise.

    Raises ModelFault empty_prompt, prompt_too_long, token_out_of_range (before anything is computed), unknown_component, layer_out_of_range,
    activations_not_finite (naming layer and example); OutOfMemory when one example alone does not fit.
    """
    for example in examples:
        lm.check_ids([*example.prompt_ids, *example.response_ids])
    ordered = sorted(range(len(examples)), key=lambda i: (-len(examples[i]), i))
    columns: dict[Site, dict[int, Tensor]] = {(str(p), c, layer): {} for p in positions for c in components for layer in layers}
    halvings = done = 0

    def run(batch: Sequence[int]) -> Sequence[int]:
        nonlocal done
        for (component, layer), means_BPD in _means(lm, [examples[i] for i in batch], positions, components, layers).items():
            _check_finite(means_BPD, batch, layer, component)
            for place, position in enumerate(positions):
                column = columns[str(position), component, layer]
                for row, index in enumerate(batch):
                    if examples[index].window(position):
                        column[index] = means_BPD[row, place]
        done += len(batch)
        if on_batch is not None:
            on_batch(done)
        return batch

    def halved(_rows: int) -> None:
        nonlocal halvings
        halvings += 1

    with_halving(run, ordered, batch_rows, on_halved=halved)
    kept = {str(p): [i for i, example in enumerate(examples) if example.window(p)] for p in positions}
    values = {
        site: torch.stack([column[i] for i in kept[site[0]]]) if column else torch.empty(0, 0) for site, column in columns.items()
    }
    return Rows(values, kept, halvings)


def _means(
    lm: LanguageModel, batch: Sequence[Example], positions: Sequence[Position], components: Sequence[str], layers: Sequence[int]
) -> dict[tuple[str, int], Tensor]:
    """Window means [B, P, D] of each component and layer, on the CPU."""
    ids_BT, weights_BPT = _padded(lm, batch, positions)
    found: dict[tuple[str, int], Tensor] = {}
    wanted = len(components) * len(set(layers))

    def read(layer: int, component: str, tensor_BTD: Tensor) -> None:
        found[component, layer] = torch.bmm(weights_BPT, tensor_BTD.float()).cpu()
        if len(found) == wanted:
            raise _Enough

    with torch.no_grad(), reading(lm, dict.fromkeys(components, read), layers), contextlib.suppress(_Enough):
        lm.layout.decoder(input_ids=ids_BT, use_cache=False)
    return found


def _padded(lm: LanguageModel, batch: Sequence[Example], positions: Sequence[Position]) -> tuple[Tensor, Tensor]:
    """Ids [B, T], padded on the right, and the weights [B, P, T] that make each window's mean: 1 / its length inside, 0 outside."""
    longest = max(map(len, batch))
    ids = [[*one.prompt_ids, *one.response_ids] + [lm.pad_id] * (longest - len(one)) for one in batch]
    weights_BPT = torch.zeros(len(batch), len(positions), longest)
    for row, example in enumerate(batch):
        for place, position in enumerate(positions):
            window = example.window(position)
            if window:
                weights_BPT[row, place, window.start : window.stop] = 1 / len(window)
    return torch.tensor(ids, device=lm.device), weights_BPT.to(lm.device)


def _check_finite(means_BPD: Tensor, batch: Sequence[int], layer: int, component: str) -> None:
    if torch.isfinite(means_BPD).all():
        return
    row = int((~torch.isfinite(means_BPD)).any(-1).any(-1).nonzero()[0, 0])
    raise ModelFault(
        "activations_not_finite",
        f"{component} of layer {layer} is NaN or infinite for example {batch[row]} (counted from 0, positives first). In float16 a massive "
        "dimension overflows beyond 65,504: use another dtype.",
    )
