"""Statistics of a residual stream over many prompts: running sums on the device, and the plain arrays computed from them.

Shapes: L captured layers, D hidden size. Memory is O(L x D) for any number of tokens. Each prompt's sums are formed alone and added in prompt
order in float64, so that the bits depend on neither batch nor load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.science.errors import DegenerateActivations, NonFiniteActivations
from workers.science.medians import Float
from workers.science.residual import LayerReading, TokenSpan

Int = NDArray[np.int64]

LOCATED_RATIO = 30.0  # a dim is located where its max_to_entry_median exceeds this number
SUN_SIZE, SUN_RATIO = 100.0, 1000.0  # Sun et al.'s two conditions for a massive activation


@dataclass(frozen=True)
class Statistics:
    """The statistics over all prompts; numpy on the CPU. Response means are over the pooled response tokens of all prompts."""

    layers: tuple[int, ...]  # captured layers, ascending; L of them
    model_layers: int
    prompts: int
    prompt_tokens: int
    response_tokens: int
    mean: Float  # [L, D] signed mean of h over response tokens
    mean_abs: Float  # [L, D] mean of |h| over response tokens
    mean_square: Float  # [L, D] mean of h^2 over response tokens
    norm: Float  # [L] mean over response tokens of |h|_2
    attn_norm: Float  # [L] the same for the contribution of attention
    mlp_norm: Float  # [L] the same for the contribution of the MLP
    alignment: Float  # [L] mean over prompts of the mean cosine of prompt tokens with their mean
    max_to_median: Float  # [L, D] mean over prompts of max_t |h| divided by the median dim's
    max_to_entry: Float  # [L, D] mean over prompts of max_t |h| divided by the median of all |h|
    largest: Float  # [L, D] max over prompts and tokens of |h|
    located: Int  # [L, D] prompts in which max_to_entry_median passes LOCATED_RATIO
    sun: Int  # [L, D] prompts in which some token is massive by Sun et al.
    at_first: Int  # [L, D] prompts with their peak at the first token
    at_delimiter: Int  # [L, D] prompts with their peak at the first delimiter


@dataclass(frozen=True)
class PromptReading:
    """One prompt at all captured layers, in their order."""

    span: TokenSpan
    layers: Sequence[LayerReading]
    attn_norms: Sequence[Tensor]  # float64 sums over response tokens
    mlp_norms: Sequence[Tensor]


class RunningStatistics:
    """The running sums, to which prompts are added singly."""

    def __init__(self, layers: Sequence[int], model_layers: int, width: int, device: torch.device) -> None:
        self.layers = tuple(sorted(set(layers)))
        self.model_layers = model_layers
        self.device = device
        self.prompts = self.prompt_tokens = self.response_tokens = 0
        shape = (len(self.layers), width)
        self._sums = {name: torch.zeros(shape, dtype=torch.float64, device=device) for name in _SUMS}
        self._counts = {name: torch.zeros(shape, dtype=torch.int64, device=device) for name in _COUNTS}
        self._scalars = {name: torch.zeros(shape[0], dtype=torch.float64, device=device) for name in _SCALARS}
        self._largest_LD = torch.zeros(shape, dtype=torch.float32, device=device)

    def add(self, reading: PromptReading) -> None:
        """Adds one prompt. Raises NonFiniteActivations, DegenerateActivations; then nothing is added."""
        layers = reading.layers
        peak_LD = torch.stack([layer.peak for layer in layers])
        peak_median_L = peak_LD.median(dim=1).values
        self._check(reading, peak_LD, peak_median_L)
        entry_L = torch.stack([layer.entry_median for layer in layers]).double()
        median_L = peak_median_L.double()
        to_entry_LD = peak_LD.double() / entry_L[:, None]
        self._sums["signed"] += torch.stack([layer.signed for layer in layers])
        self._sums["absolute"] += torch.stack([layer.absolute for layer in layers])
        self._sums["square"] += torch.stack([layer.square for layer in layers])
        self._sums["max_to_median"] += peak_LD.double() / median_L[:, None]
        self._sums["max_to_entry"] += to_entry_LD
        self._counts["located"] += to_entry_LD > LOCATED_RATIO
        self._counts["sun"] += (peak_LD > SUN_SIZE) & (to_entry_LD > SUN_RATIO)
        self._counts["first"] += torch.stack([layer.peak_first for layer in layers])
        self._counts["delimiter"] += torch.stack([layer.peak_delimiter for layer in layers])
        self._scalars["norm"] += torch.stack([layer.norm_square.sqrt().sum() for layer in layers])
        self._scalars["alignment"] += torch.stack([layer.alignment for layer in layers])
        self._scalars["attn_norm"] += torch.stack(list(reading.attn_norms))
        self._scalars["mlp_norm"] += torch.stack(list(reading.mlp_norms))
        self._largest_LD = torch.maximum(self._largest_LD, peak_LD)
        self.prompts += 1
        self.prompt_tokens += reading.span.prompt_tokens
        self.response_tokens += reading.span.response_tokens

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The whole state as arrays, for `restore`."""
        kept = self._tensors() | {"largest": self._largest_LD}
        counted = np.array([self.prompts, self.prompt_tokens, self.response_tokens], dtype=np.int64)
        return {name: tensor.cpu().numpy() for name, tensor in kept.items()} | {"counted": counted}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Continues from the state that another instance saved."""
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(arrays[name]))
        self._largest_LD = torch.from_numpy(arrays["largest"]).to(self.device)
        self.prompts, self.prompt_tokens, self.response_tokens = (int(count) for count in arrays["counted"])

    def _tensors(self) -> dict[str, Tensor]:
        groups = {"sums": self._sums, "counts": self._counts, "scalars": self._scalars}
        return {f"{group}.{name}": tensor for group, held in groups.items() for name, tensor in held.items()}

    def _check(self, reading: PromptReading, peak_LD: Tensor, peak_median_L: Tensor) -> None:
        read = [
            peak_LD.amax(dim=1),  # NaN where any value is NaN
            torch.stack(list(reading.attn_norms)),
            torch.stack(list(reading.mlp_norms)),
            torch.stack([layer.entry_median for layer in reading.layers]),
            peak_median_L,
        ]
        # one copy, because each copy waits for the device
        *finite, entries, peaks = torch.stack([each.double() for each in read]).cpu().numpy()
        for row, layer in enumerate(self.layers):  # the lowest bad layer is where the fault began
            for component, good in zip(("residual stream", "attention output", "MLP output"), finite, strict=True):
                if not np.isfinite(good[row]):
                    raise NonFiniteActivations(layer, self.prompts, component)
            for median, what in zip(
                (entries[row], peaks[row]), ("the median of all values", "the median dim's maximum"), strict=True
            ):
                if median == 0:
                    raise DegenerateActivations(layer, what)

    def result(self) -> Statistics:
        """The means over all prompts. Raises ValueError without any response token."""
        if not self.response_tokens:
            raise ValueError("there is no response token, so there is no mean")
        sums = {name: value.cpu().numpy() for name, value in self._sums.items()}
        counts = {name: value.cpu().numpy() for name, value in self._counts.items()}
        scalars = {name: value.cpu().numpy() for name, value in self._scalars.items()}
        tokens, prompts = self.response_tokens, self.prompts
        return Statistics(
            layers=self.layers,
            model_layers=self.model_layers,
            prompts=prompts,
            prompt_tokens=self.prompt_tokens,
            response_tokens=tokens,
            mean=sums["signed"] / tokens,
            mean_abs=sums["absolute"] / tokens,
            mean_square=sums["square"] / tokens,
            norm=scalars["norm"] / tokens,
            attn_norm=scalars["attn_norm"] / tokens,
            mlp_norm=scalars["mlp_norm"] / tokens,
            alignment=scalars["alignment"] / prompts,
            max_to_median=sums["max_to_median"] / prompts,
            max_to_entry=sums["max_to_entry"] / prompts,
            largest=self._largest_LD.cpu().numpy().astype(np.float64),
            located=counts["located"],
            sun=counts["sun"],
            at_first=counts["first"],
            at_delimiter=counts["delimiter"],
        )


_SUMS = ("signed", "absolute", "square", "max_to_median", "max_to_entry")
_COUNTS = ("located", "sun", "first", "delimiter")
_SCALARS = ("norm", "attn_norm", "mlp_norm", "alignment")
