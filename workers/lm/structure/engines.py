"""Measures by running a twin whether its text can be generated on slots of keys and values, or on the library's own cache, and whether a pass
may gain rows on its way.

On the slots, two rows of different length share a pass (right-padded, each at its own positions), once from their first token and once after
an earlier pass; on the library's cache, two rows of equal length do. Both then take two steps, and each step's last hidden states must equal
those of the whole rows run plainly. `finding` tries the slots first, then the library's cache; if neither agrees, each step computes whole rows.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from workers.lm.masks import rows_at
from workers.lm.slots import SlotCache
from workers.lm.structure.decoders import blocks_of
from workers.lm.structure.recording import Args, Passed
from workers.lm.structure.twin import positions_argument, run, token_ids

AGREES = 1e-5
"""The residue below which an engine agrees with the plain run."""
STEPS, LENGTHS, DIVIDED = 2, (17, 11), 5
"""The number of steps, the tokens of the two rows before them, and those of the first of two passes."""
MORE_ROWS = [0, 1, 1]
"""The rows after a block, of two before it: a number to which nothing else is expanded."""


def residue_of(check: Callable[[nn.Module], float], twin: nn.Module) -> float | str:
    """The largest relative difference of a last hidden state from the plain run's, or the reason why the engine cannot run the twin."""
    try:
        return check(twin)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else 'no message'}"


def works(residue: float | str) -> bool:
    """Whether the residue is a number, and small."""
    return isinstance(residue, float) and residue < AGREES


def on_slots(twin: nn.Module) -> float:
    """The residue on slots (see `residue_of`)."""
    return max(_on_slots(twin, starts) for starts in ([0], [0, DIVIDED]))


def _on_slots(twin: nn.Module, starts: Sequence[int]) -> float:
    """The residue where the passes over the rows before the steps begin at `starts`."""
    ids, n_layers = token_ids(twin), len(blocks_of(twin))
    cache = SlotCache(len(LENGTHS), max(LENGTHS) + STEPS)
    slots = torch.arange(len(LENGTHS))
    for start, stop in zip(starts, [*starts[1:], max(LENGTHS)], strict=True):
        positions = torch.arange(start, stop)[None]
        lengths = [min(length, stop) - start for length in LENGTHS]
        real_NT = positions < torch.tensor(LENGTHS)[:, None]
        cache.prefilling(slots.tolist(), lengths, real_NT, [None] * n_layers, start, [slots] * n_layers)
        with rows_at(positions):
            run(twin, ids[:, start:stop], position_ids=positions, cache=cache)
    worst = 0.0
    for step in range(STEPS):
        pos_N = torch.tensor(LENGTHS) + step
        cache.stepping(pos_N, int(pos_N.max()) + 1)
        with rows_at(pos_N[:, None]):
            h_N1D = run(twin, ids[range(2), pos_N][:, None], position_ids=pos_N[:, None], cache=cache)
        worst = max(
            worst,
            *(_difference(h_N1D[row, -1], run(twin, ids[row : row + 1, : int(at) + 1])[0, -1]) for row, at in enumerate(pos_N)),
        )
    return worst


def on_library_cache(twin: nn.Module) -> float:
    """The residue on the library's cache (see `residue_of`)."""
    ids = token_ids(twin)
    cache = DynamicCache(config=twin.config)
    length = max(LENGTHS)
    run(twin, ids[:, :length], cache=cache, **positions_argument(twin, 0, length))
    worst, kept = 0.0, torch.tensor([1])
    for step in range(STEPS):
        if step == 1:  # one row ends and leaves
            cache.reorder_cache(kept)
            ids = ids[kept]
        at = length + step
        now_ND = run(twin, ids[:, at : at + 1], cache=cache, **positions_argument(twin, at, 1))[:, -1]
        plain_ND = run(twin, ids[:, : at + 1])[:, -1]
        worst = max(worst, *(_difference(one, other) for one, other in zip(now_ND, plain_ND, strict=True)))
    return worst


def on_more_rows(twin: nn.Module) -> float:
    """The residue of a pass that begins with two rows and has three after a block (see `residue_of`). It cannot run where blocks take something
    else that was made for each row, such as embeddings for each layer, or keys of an earlier block."""
    ids = token_ids(twin)
    plain_NTD = run(twin, ids)[MORE_ROWS]
    return max(_difference(_more_rows_after(block, twin, ids), plain_NTD) for block in blocks_of(twin)[:-1])


def _more_rows_after(block: nn.Module, twin: nn.Module, ids: Tensor) -> Tensor:
    def more_rows(_module: nn.Module, _inputs: Args, output: Passed) -> Passed:
        given = output[0] if isinstance(output, tuple) else output
        assert isinstance(given, Tensor)
        return (given[MORE_ROWS], *output[1:]) if isinstance(output, tuple) else given[MORE_ROWS]

    positions = torch.arange(ids.shape[1])[None]
    handle = block.register_forward_hook(more_rows)
    try:
        with rows_at(positions):  # one mask for all rows, as in a pass over prompts
            return run(twin, ids, position_ids=positions)
    finally:
        handle.remove()


def _difference(one: Tensor, other: Tensor) -> float:
    """The relative difference of two tensors; infinite if it is not a number."""
    difference = float((one - other).norm() / other.norm())
    return difference if math.isfinite(difference) else math.inf
