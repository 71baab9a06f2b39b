"""Stores the per-token scalars that exact quantiles need: |h|^2 of each response token, and |h[dim]| for a few watched dims.

A percentile or median cannot be computed from sums, and which dims matter is known only at the end. So for each prompt and layer the likely dims
are stored (`workers.science.watching`), and `missing` names a needed dim that was not watched in some prompt, to be read again. Watching decides
how much is read twice, never a value.

Shapes: R response tokens of one prompt, K watched dims. 8 R + 4 R K bytes per prompt and layer, in memory up to `MEMORY_BYTES` in all and in a
temporary file beyond; a call holds one column of all tokens in memory.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.science.medians import Float

MEMORY_BYTES = 4 << 20


@dataclass(frozen=True)
class _Block:
    """K columns of R float32 values each, one after another from `offset`."""

    dims: NDArray[np.int32]
    offset: int


class TokenValues:
    """Stores the scalars of prompts in the order of adding, and returns whole columns in that order."""

    def __init__(self, n_layers: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115, closed by close()
        self._size = 0
        self._lengths: list[int] = []
        self._norms: list[list[int]] = [[] for _ in range(n_layers)]
        self._blocks: list[list[list[_Block]]] = [[] for _ in range(n_layers)]

    def close(self) -> None:
        """Frees the memory or the file."""
        self._file.close()

    def add_prompt(self, norm_squares: Sequence[Tensor], dims: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        """Adds a prompt's values. Each sequence has an entry per layer: float64 [R], int64 [K] and float32 [R, K]."""
        self._lengths.append(norm_squares[0].shape[0])
        # one copy to the host for all layers, because each copy waits for the device
        norms_LR = torch.stack(list(norm_squares)).cpu().numpy().astype(np.float64)
        columns = torch.cat([values_RK.T.flatten() for values_RK in values]).cpu().numpy().astype(np.float32)
        all_dims = torch.cat(list(dims)).cpu().numpy().astype(np.int32)
        at = column = 0
        for row, dims_K in enumerate(dims):
            self._norms[row].append(self._write(norms_LR[row]))
            count, size = len(dims_K), len(dims_K) * self._lengths[-1]
            block = _Block(all_dims[at : at + count], self._write(columns[column : column + size]))
            self._blocks[row].append([block])
            at, column = at + count, column + size

    def add_dims(self, prompt: int, row: int, dims_K: Tensor, values_RK: Tensor) -> None:
        """Adds dims of a prompt that was added before: int64 [K], float32 [R, K]."""
        offset = self._write(np.ascontiguousarray(values_RK.T.cpu().numpy(), dtype=np.float32))
        self._blocks[row][prompt].append(_Block(dims_K.cpu().numpy().astype(np.int32), offset))

    def missing(self, needed: Mapping[int, Iterable[int]]) -> dict[int, dict[int, list[int]]]:
        """The needed values that are not stored, as {prompt: {row: dims}}, of the dims `needed` at each layer row. Prompts without tokens lack
        nothing."""
        lacking: dict[int, dict[int, list[int]]] = {}
        for row, dims in needed.items():
            for prompt, length in enumerate(self._lengths):
                kept = {int(dim) for block in self._blocks[row][prompt] for dim in block.dims}
                lost = sorted(set(dims) - kept)
                if lost and length:
                    lacking.setdefault(prompt, {})[row] = lost
        return lacking

    def column(self, row: int, dim: int) -> Float:
        """|h[dim]| at one layer row, of every response token in order. Raises KeyError when a prompt lacks it."""
        parts = [
            self._read(self._find(row, prompt, dim), length, np.float32) for prompt, length in enumerate(self._lengths) if length
        ]
        return np.concatenate([np.zeros(0), *parts])

    def norm_squares(self, row: int) -> Float:
        """|h|^2 at one layer row, of every response token in order."""
        parts = [self._read(offset, length, np.float64) for offset, length in zip(self._norms[row], self._lengths, strict=True)]
        return np.concatenate([np.zeros(0), *parts])

    def norms_without(self, row: int, dims: Iterable[int]) -> Float:
        """The norm of h with `dims` set to 0, for every response token; exact to 1e-15 of |h|^2."""
        left = self.norm_squares(row)
        for dim in dims:
            left = left - self.column(row, dim) ** 2
        return np.asarray(np.sqrt(np.maximum(left, 0.0)))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The whole state as arrays, for `restore`."""
        blocks = [
            (row, prompt, block) for row, kept in enumerate(self._blocks) for prompt, held in enumerate(kept) for block in held
        ]
        self._file.seek(0)
        return {
            "file": np.frombuffer(self._file.read(self._size), dtype=np.uint8),
            "lengths": np.array(self._lengths, dtype=np.int64),
            "norms": np.array(self._norms, dtype=np.int64),
            "blocks": np.array([(row, prompt, block.offset, len(block.dims)) for row, prompt, block in blocks], dtype=np.int64),
            "dims": np.concatenate([np.zeros(0, dtype=np.int32), *(block.dims for _, _, block in blocks)]),
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Continues from the state that another instance saved."""
        self._write(arrays["file"])
        self._lengths = [int(length) for length in arrays["lengths"]]
        self._norms = arrays["norms"].tolist()
        self._blocks = [[[] for _ in self._lengths] for _ in self._norms]
        start = 0
        for row, prompt, offset, count in arrays["blocks"].tolist():
            self._blocks[row][prompt].append(_Block(arrays["dims"][start : start + count].astype(np.int32), offset))
            start += count

    def _find(self, row: int, prompt: int, dim: int) -> int:
        for block in self._blocks[row][prompt]:
            at = np.flatnonzero(block.dims == dim)
            if at.size:
                return block.offset + int(at[0]) * self._lengths[prompt] * 4
        raise KeyError(f"dim {dim} was not kept for prompt {prompt}")

    def _write(self, values: NDArray[np.generic]) -> int:
        offset = self._size
        self._file.seek(offset)
        self._file.write(values.tobytes())
        self._size += values.nbytes
        return offset

    def _read(self, offset: int, length: int, kind: type[np.floating]) -> Float:
        self._file.seek(offset)
        return np.frombuffer(self._file.read(length * np.dtype(kind).itemsize), dtype=kind).astype(np.float64)
