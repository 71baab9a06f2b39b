"""Finds the fewest modules of a block with outputs that, with constants, add up to the block's effect on its input.

    output = c0 input + sum_k c_k output_k          1 to 3 addends

All inner products are computed once (a Gram matrix of unit vectors in float64); every subset is then a system of at most four unknowns. Several
sets fit exactly (a block's MLP, its last projection, a dropout after it): the fewest addends win, then the outermost modules, then the first.
Modules with proportional outputs are one candidate, the outermost. A module that ran twice is not a candidate.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from workers.lm.structure.recording import Recording

MOST = 3
FITS = 1e-5
"""Limit relative to |output - c0 input|. A block that computes in float32 inside leaves about 1e-7; a missing addend leaves more than 1e-2."""
SAME = 1e-10
LEAST = 1e-4
"""The smallest constant: below it, an addend or the input counts as absent."""


@dataclass(frozen=True)
class Sum:
    """A sum of module outputs: `paths[k]` has the constant `constants[k]`; `kept` is the input's constant. `residue` is the remaining
    difference, relative to |output - c0 input|."""

    paths: tuple[str, ...]
    constants: tuple[float, ...]
    kept: float
    residue: float


def find_sum(seen: Recording) -> Sum:
    """The best sum; where none fits, `residue` is above FITS and the paths are the nearest set's."""
    x_N, y_N = seen.input_BTD.double().flatten(), seen.output_BTD.double().flatten()  # type: ignore[union-attr]
    paths, outputs = _candidates(seen, x_N, y_N)
    nearest = Sum((), (), 1.0, 1.0)
    if not paths:
        return nearest
    stack = torch.stack([x_N, *outputs, y_N])
    sizes = stack.norm(dim=1)
    unit = stack / sizes[:, None]
    gram = unit @ unit.T
    for size in range(1, min(MOST, len(paths)) + 1):
        subsets = torch.tensor(list(combinations(range(len(paths)), size)))
        left, constants = _solved(gram, subsets)
        fitting = []
        for index in (left < 1e-7).nonzero()[:, 0].tolist():
            chosen = subsets[index].tolist()
            block_sum = _checked(stack, chosen, constants[index] * sizes[-1] / sizes[[0, *(i + 1 for i in chosen)]], paths)
            if block_sum.residue < FITS and min(abs(c) for c in (block_sum.kept, *block_sum.constants)) > LEAST:
                fitting.append((sum(paths[i].count(".") for i in chosen), chosen, block_sum))
        if fitting:
            return min(fitting, key=lambda fit: fit[:2])[2]
        best = int(left.argmin())
        chosen = subsets[best].tolist()
        block_sum = _checked(stack, chosen, constants[best] * sizes[-1] / sizes[[0, *(i + 1 for i in chosen)]], paths)
        nearest = min(nearest, block_sum, key=lambda block_sum: block_sum.residue)
    return nearest if nearest.residue > FITS else Sum(nearest.paths, nearest.constants, nearest.kept, 1.0)


def _candidates(seen: Recording, x_N: Tensor, y_N: Tensor) -> tuple[list[str], list[Tensor]]:
    """The candidate modules, outermost first; modules proportional to the input, the output, or an earlier candidate are left out."""
    outputs = seen.once()
    order = {path: place for place, path in enumerate(outputs)}
    paths: list[str] = []
    kept = [x_N / x_N.norm(), y_N / y_N.norm()]
    vectors: list[Tensor] = []
    for path in sorted(outputs, key=lambda path: (path.count("."), order[path])):
        h_N = outputs[path].double().flatten()
        size = h_N.norm()
        if not torch.isfinite(size) or size == 0:
            continue
        if float((torch.stack(kept) @ (h_N / size)).abs().max()) < 1 - SAME:
            paths.append(path)
            kept.append(h_N / size)
            vectors.append(h_N)
    return paths, vectors


def _solved(gram: Tensor, subsets: Tensor) -> tuple[Tensor, Tensor]:
    """For each subset (with the input) the squared share of the output that is left over, and the constants of the unit vectors."""
    columns = torch.cat([torch.zeros(len(subsets), 1, dtype=torch.long), subsets + 1], dim=1)
    systems = gram[columns[:, :, None], columns[:, None, :]]
    systems = systems + 1e-14 * torch.eye(columns.shape[1], dtype=gram.dtype)
    wanted = gram[columns, -1]
    constants, _ = torch.linalg.solve_ex(systems, wanted)
    left = 1 - (constants * wanted).sum(1)
    return torch.where(torch.isfinite(left), left.abs(), torch.ones_like(left)), constants


def _checked(stack: Tensor, chosen: list[int], constants: Tensor, paths: list[str]) -> Sum:
    x_N, y_N = stack[0], stack[-1]
    change = y_N - constants[0] * x_N
    made = (constants[1:, None] * stack[[i + 1 for i in chosen]]).sum(0)
    residue = float((change - made).norm() / change.norm().clamp_min(1e-300))
    return Sum(tuple(paths[i] for i in chosen), tuple(constants[1:].tolist()), float(constants[0]), residue)
