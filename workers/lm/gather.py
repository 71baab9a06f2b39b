"""Computes activation rows: for each example one mean over each window of tokens, at every requested layer and component, in one forward pass.

Shapes: B segments of a pass, T positions, W windows, D width of a component, N examples. Examples share their first tokens by a plan
(`prefixes`) that depends on the examples, the kind of device and the model's width, and not on free memory, so the rows are the same to the
last bit. A window that spans several segments is summed from its parts. No [B, T, D] tensor is kept: the parts are summed inside the hook, in
float32. Segments are padded on the right, where pads cannot affect a token of the row in a causal model. The LM head and the blocks above the
highest requested layer never run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terms.positions import Position
from workers.lm.capture import reading_once
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.prefixes import Pass, Plan
from workers.lm.sharing import Inputs, fill, plan_for, run_plan

Site = tuple[str, str, int]
"""(position, component, layer)."""


@dataclass(frozen=True)
class Example:
    """A prompt and the response that followed it, both as ids, because texts are never joined and tokenized again."""

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)

    def window(self, position: Position) -> range:
        """The token indices of a position's window in this example."""
        return position.window(len(self.prompt_ids), len(self.response_ids))


@dataclass(frozen=True, eq=False)
class Rows:
    """Activation rows: `values[site]` is float32 [N of the position, D] on the CPU, with a row for each example in `kept[position]`.

    `kept[position]` lists the examples with a non-empty window there, in order. `plan` says how the rows were computed; None for rows read from
    a file.
    """

    values: Mapping[Site, Tensor]
    kept: Mapping[str, list[int]]
    plan: Plan | None = None

    def at(self, positions: Sequence[str], components: Sequence[str], layers: Sequence[int]) -> "Rows":
        """The rows of the given positions, components and layers only."""
        sites = [(position, component, layer) for position in positions for component in components for layer in layers]
        return Rows({site: self.values[site] for site in sites}, {position: self.kept[position] for position in positions})


def gather_rows(
    lm: LanguageModel,
    examples: Sequence[Example],
    *,
    positions: Sequence[Position],
    components: Sequence[str],
    layers: Sequence[int],
    pass_tokens: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Rows:
    """Returns every window mean of every example. `on_batch(done)` is called after each pass with the number of finished examples, and may
    raise. `pass_tokens`: the most of a pass with several rows, as `reading_tokens` by default.

    Raises ModelFault empty_prompt, prompt_too_long, token_out_of_range (before anything is computed), unknown_component, layer_out_of_range,
    activations_not_finite (naming layer and example); OutOfMemory when a pass of the plan does not fit.
    """
    ids = [[*example.prompt_ids, *example.response_ids] for example in examples]
    for row in ids:
        lm.check_ids(row)
    windows = {str(position): [example.window(position) for example in examples] for position in positions}
    kept = {name: [i for i, window in enumerate(by_example) if window] for name, by_example in windows.items()}
    plan = plan_for(lm, ids, pass_tokens)
    sums = _Sums(lm, windows, kept, components, layers)
    ends = [len(row) for row in ids]
    done = 0

    def forward(pass_: Pass, inputs: Inputs) -> None:
        nonlocal done
        sums.add(pass_, inputs)
        done += sum(ends[row] == segment.stop for segment in pass_.segments for row in segment.rows)
        if on_batch is not None:
            on_batch(done)

    run_plan(lm, plan, ids, forward)
    return Rows(sums.values, kept, plan)


@dataclass(frozen=True)
class _Part:
    """The part of a window that lies in one segment: tokens `start` to `stop` of the segment, each of `weight`."""

    segment: int
    start: int
    stop: int
    weight: float


class _Sums:
    """The window means of all examples, [N, D] at each site, as far as they have been computed."""

    def __init__(
        self,
        lm: LanguageModel,
        windows: Mapping[str, Sequence[range]],
        kept: Mapping[str, Sequence[int]],
        components: Sequence[str],
        layers: Sequence[int],
    ) -> None:
        self._lm, self._windows, self._components, self._layers = lm, windows, components, layers
        self._place = {name: {example: place for place, example in enumerate(examples)} for name, examples in kept.items()}
        self.values: dict[Site, Tensor] = {
            (name, component, layer): torch.zeros(len(examples), lm.layout.width(component, layer) if examples else 0)
            for name, examples in kept.items()
            for component in components
            for layer in layers
        }

    def add(self, pass_: Pass, inputs: Inputs) -> None:
        """Runs a pass and adds its parts of the windows. A pass that holds no part runs only where others follow it, for its keys and values."""
        parts = self._parts(pass_)
        if not parts:
            if pass_.kept:
                fill(self._lm, inputs, max(self._layers))
            return
        weights_BWT, places = _weights(pass_, parts)
        weights_BWT = weights_BWT.to(self._lm.device)
        device_sums: dict[tuple[str, int], Tensor] = {}

        def read(layer: int, component: str, tensor_BTD: Tensor) -> None:
            device_sums[component, layer] = torch.bmm(weights_BWT, tensor_BTD.float())

        with reading_once(self._lm, dict.fromkeys(self._components, read), self._layers), torch.no_grad():
            self._lm.layout.decoder(**inputs)
        sums = _to_host(device_sums)
        for (component, layer), sums_BWD in sums.items():
            _check_finite(sums_BWD, pass_, layer, component)
        added = []
        for name, pairs in _by_position(parts, places).items():
            rows_M, slots_M = torch.tensor([(self._place[name][example], slot) for example, slot in pairs]).T
            added += [(self.values[name, *site], rows_M, sums_BWD.flatten(0, 1)[slots_M]) for site, sums_BWD in sums.items()]
        for values_ND, rows_M, sums_MD in added:  # in place, and last: a pass that ran out of memory earlier can be repeated
            values_ND.index_add_(0, rows_M, sums_MD)

    def _parts(self, pass_: Pass) -> dict[_Part, list[tuple[str, int]]]:
        """The parts of windows in a pass, each with its (position, example) pairs."""
        parts: dict[_Part, list[tuple[str, int]]] = {}
        for number, segment in enumerate(pass_.segments):
            for name, windows in self._windows.items():
                for example in segment.rows:
                    window = windows[example]
                    start, stop = max(window.start, segment.start), min(window.stop, segment.stop)
                    if start < stop:
                        part = _Part(number, start - segment.start, stop - segment.start, 1 / len(window))
                        parts.setdefault(part, []).append((name, example))
        return parts


def _to_host(sums: Mapping[tuple[str, int], Tensor]) -> dict[tuple[str, int], Tensor]:
    """The tensors [B, W, D] on the CPU, copied once for each D: every copy waits for the device, so a copy at each layer would stall it
    there."""
    by_width: dict[int, list[tuple[str, int]]] = {}
    for site, sums_BWD in sums.items():
        by_width.setdefault(sums_BWD.shape[-1], []).append(site)
    copied = {
        site: sums_BWD
        for sites in by_width.values()
        for site, sums_BWD in zip(sites, torch.stack([sums[site] for site in sites]).cpu(), strict=True)
    }
    return {site: copied[site] for site in sums}


def _weights(pass_: Pass, parts: Iterable[_Part]) -> tuple[Tensor, dict[_Part, int]]:
    """Returns weights [B, W, T], which give the parts' sums when multiplied with [B, T, D], and each part's index in the flattened [B x W]."""
    by_segment: list[list[_Part]] = [[] for _ in pass_.segments]
    for part in parts:
        by_segment[part.segment].append(part)
    most = max(map(len, by_segment))
    weights_BWT = torch.zeros(len(by_segment), most, pass_.width)
    places: dict[_Part, int] = {}
    for segment, own in enumerate(by_segment):
        for number, part in enumerate(own):
            weights_BWT[segment, number, part.start : part.stop] = part.weight
            places[part] = segment * most + number
    return weights_BWT, places


def _by_position(
    parts: Mapping[_Part, Sequence[tuple[str, int]]], places: Mapping[_Part, int]
) -> dict[str, list[tuple[int, int]]]:
    """For each position the examples that have a part, with the part's index."""
    by_position: dict[str, list[tuple[int, int]]] = {}
    for part, owners in parts.items():
        for name, example in owners:
            by_position.setdefault(name, []).append((example, places[part]))
    return by_position


def _check_finite(sums_BWD: Tensor, pass_: Pass, layer: int, component: str) -> None:
    if torch.isfinite(sums_BWD).all():
        return
    segment = int((~torch.isfinite(sums_BWD)).any(-1).any(-1).nonzero()[0, 0])
    raise ModelFault(
        "activations_not_finite",
        f"{component} of layer {layer} is NaN or infinite for example {pass_.segments[segment].rows[0]} (counted from 0, positives first). In "
        "float16 a massive dimension overflows beyond 65,504: use another dtype.",
    )
