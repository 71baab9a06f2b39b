"""Counts how often a mixture of experts routes a token to other experts when its row is computed in a batch instead of alone.

A router picks the experts with the best scores. Another batch gives other last bits, so where two scores are nearly equal another expert may be
picked. A module that receives a table of integers with one line for each token is taken as routed: names are not used. B rows, T positions.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workers.lm.likelihood import right_padded
from workers.lm.memory import free_memory, is_out_of_memory
from workers.lm.model import LanguageModel
from workers.lm.structure.recording import Args, Named, handles

SAMPLE = 4
"""Number of a job's rows that are computed again, together and alone; few, to keep the cost low."""


def routing_flips(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> dict[str, int]:
    """Returns `routing_choices`, the number of (token, router) pairs in the first rows, and `routing_flips`, the pairs at which the experts of
    the row in a batch differ from those of the row alone. Empty for a model without routers, where fewer than two rows can form a batch, and
    where a batch of two does not fit into memory: the job that asks has its results already."""
    sample = [list(row) for row in rows if len(row) > 1][:SAMPLE]
    if len(sample) < 2 or not _picks(lm, [sample[0][:8]]):
        return {}
    for most in (SAMPLE, 2):
        try:
            return _flips(lm, sample[:most])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        free_memory()
    return {}


def _flips(lm: LanguageModel, sample: Sequence[Sequence[int]]) -> dict[str, int]:
    together = _picks(lm, sample)
    choices = flips = 0
    for number, row in enumerate(sample):
        for router, picked_BTK in _picks(lm, [row]).items():
            differs_T = (picked_BTK[0] != together[router][number, : len(row)]).any(-1)
            choices += len(differs_T)
            flips += int(differs_T.sum())
    return {"routing_choices": choices, "routing_flips": flips}


def _picks(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """For each router the experts [B, T, K] of each token, in ascending order of expert number, from one pass over these rows."""
    ids_BT = right_padded(lm, rows)
    picks: dict[str, Tensor] = {}

    def watching(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Args, kwargs: Named) -> None:
            tables = [argument for argument in (*args, *kwargs.values()) if isinstance(argument, Tensor) and argument.ndim == 2]
            for given in tables:
                if given.dtype in (torch.int32, torch.int64) and len(given) == ids_BT.numel():
                    picks[name] = given.sort(-1).values.view(*ids_BT.shape, -1).cpu()

        return hook

    modules = [
        (f"{layer}.{path}", module)
        for layer, sites in enumerate(lm.layout.sites)
        for path, module in sites["residual"].named_modules()
    ]
    with (
        handles([module.register_forward_pre_hook(watching(name), with_kwargs=True) for name, module in modules]),
        torch.no_grad(),
    ):
        lm.layout.decoder(input_ids=ids_BT, use_cache=False)
    return picks
