"""Reduces one prompt's residual stream to sums and peaks, layer by layer, while the model runs.

Shapes: T tokens of prompt and response together, P prompt tokens, R response tokens, D hidden size. T = P + R; R may be 0. Everything is
computed from the float32 values in float64 sums (science.md, 2.1); [T, D] tensors are freed with the call. Independent of models.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows cast to float64 at a time. It orders the additions and so affects the last bits: a constant, not a setting.
ROWS = 1024


@dataclass(frozen=True)
class TokenSpan:
    """The numbers of tokens of a row. `delimiter`: position of the first delimiter after token 0, or None."""

    prompt_tokens: int
    response_tokens: int
    delimiter: int | None


@dataclass(frozen=True)
class LayerReading:
    """One prompt at one layer. Sums run over response tokens, peaks over all tokens."""

    signed: Tensor  # [D] float64 sum of h
    absolute: Tensor  # [D] float64 sum of |h|
    square: Tensor  # [D] float64 sum of h^2
    norm_square: Tensor  # [R] float64 |h_t|^2 of each response token
    alignment: Tensor  # float64 scalar: mean over prompt tokens of cos(h_t, mean_t h)
    peak: Tensor  # [D] float32 max over tokens of |h|
    entry_median: Tensor  # float32 scalar: median of all T x D values |h|, the lower of two middle values
    peak_first: Tensor  # [D] bool: the peak is at the first token
    peak_delimiter: Tensor  # [D] bool: the peak is at the first delimiter and at no earlier token


def read_layer(h_TD: Tensor, span: TokenSpan) -> LayerReading:
    """Reduces the residual stream of one prompt at one layer. NaN and infinities show in `peak`."""
    h_TD = h_TD.detach().float()
    size_TD = h_TD.abs()
    peak_D = size_TD.amax(0)
    signed_D, absolute_D, square_D, norm_square_R = _sums(h_TD[span.prompt_tokens :])
    return LayerReading(
        signed=signed_D,
        absolute=absolute_D,
        square=square_D,
        norm_square=norm_square_R,
        alignment=mean_alignment(h_TD[: span.prompt_tokens]),
        peak=peak_D,
        entry_median=size_TD.flatten().median(),
        peak_first=size_TD[0] == peak_D,
        peak_delimiter=_peaks_first_at(size_TD, peak_D, span.delimiter),
    )


def norm_sum(x_TD: Tensor, span: TokenSpan) -> Tensor:
    """Sum over response tokens of the L2 norm of x: float64 scalar (0 without response tokens)."""
    x_RD = x_TD.detach().float()[span.prompt_tokens :]
    norms = [part.square_().sum(1).sqrt().sum() for part in _float64(x_RD)]
    return torch.stack(norms).sum() if norms else torch.zeros((), dtype=torch.float64, device=x_RD.device)


def mean_alignment(h_PD: Tensor) -> Tensor:
    """Mean over tokens of cos(h_t, mean_t h): float64 scalar. A zero vector has cosine 0 with everything."""
    mean_D = sum((part.sum(0) for part in _float64(h_PD)), torch.zeros(h_PD.shape[1], dtype=torch.float64, device=h_PD.device))
    mean_D = mean_D / h_PD.shape[0]
    length = mean_D.square().sum().sqrt()
    total = torch.zeros((), dtype=torch.float64, device=h_PD.device)
    for part in _float64(h_PD):
        product = part.square().sum(1).sqrt() * length
        cosine = (part * mean_D).sum(1) / product
        total += torch.where(product == 0, 0.0, cosine).sum()
    return total / h_PD.shape[0]


def _sums(x_RD: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over rows of x, |x| and x^2 ([D] each), and over dims of x^2 ([R]); all float64."""
    zero_D = torch.zeros(x_RD.shape[1], dtype=torch.float64, device=x_RD.device)
    signed_D, absolute_D, square_D, norms = zero_D, zero_D.clone(), zero_D.clone(), [zero_D[:0]]
    for part in _float64(x_RD):
        square = part.square()
        signed_D = signed_D + part.sum(0)
        square_D = square_D + square.sum(0)
        norms.append(square.sum(1))
        absolute_D = absolute_D + part.abs_().sum(0)
    return signed_D, absolute_D, square_D, torch.cat(norms)


def _float64(x_TD: Tensor) -> Iterator[Tensor]:
    """Fresh float64 copies of at most ROWS rows at a time."""
    for part in torch.split(x_TD, ROWS):
        if part.shape[0]:
            yield part.to(torch.float64, copy=True)


def _peaks_first_at(size_TD: Tensor, peak_D: Tensor, position: int | None) -> Tensor:
    if position is None:
        return torch.zeros_like(peak_D, dtype=torch.bool)
    return (size_TD[position] == peak_D) & (size_TD[:position].amax(0) < peak_D)
