"""What generating needs beside the weights, found by running the model on the meta device: every tensor has its shape, none has memory.

The bytes that are alive at once are counted, and the most of them is the peak. So caches of hybrids, buffers of experts, masks and logits of
any model are counted without a formula for its family. What kernels take for themselves is not seen; on a CPU it is less than a fifth
(tests/families/test_room.py measures it in a process of its own).

B rows, T positions, L layers.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

from workers.lm.checkpoint import quiet
from workers.lm.masks import library_pass, rows_at
from workers.lm.model import LanguageModel
from workers.lm.prefilling import MOST_TOKENS
from workers.lm.slots import SlotCache
from workers.lm.structure.decoders import find_decoder
from workers.lm.structure.twin import cache_argument, positions_argument

LOGITS = 3
"""How often a step's logits are there at once: the model's, in float32, and what is sorted of them."""
_known: dict[tuple[Any, ...], int | None] = {}


def bytes_needed(lm: LanguageModel, rows: int, prompt_tokens: int, new_tokens: int) -> int | None:
    """The peak beside the weights of `rows` rows generated together, in bytes; None where the model cannot be run without values."""
    text = lm.model.config.to_json_string(use_diff=False)
    key = type(lm.model), text, lm.dtype, rows, prompt_tokens, new_tokens
    if key not in _known:
        try:
            _known[key] = _peak(lm, rows, prompt_tokens, new_tokens)
        except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
            _known[key] = None
    return _known[key]


def _peak(lm: LanguageModel, rows: int, prompt_tokens: int, new_tokens: int) -> int:
    with quiet(), torch.device("meta"):
        model: nn.Module = type(lm.model)(lm.model.config).to(lm.dtype).eval()  # type: ignore[arg-type]
        together = max(1, min(rows, MOST_TOKENS // max(1, prompt_tokens)))
        run = _on_slots if lm.layout.structure.engine == "slots" else _on_library
        alive = _Alive(model)
        with torch.no_grad(), _Fused(), alive:
            run(model, rows, together, max(1, prompt_tokens - 1), new_tokens)
        return alive.peak


def _on_slots(model: nn.Module, rows: int, together: int, tokens: int, new_tokens: int) -> None:
    """As `prefilling` and `refilling` do it."""
    decoder = find_decoder(model)
    cache = SlotCache(rows, tokens + new_tokens)
    positions_1T = torch.arange(tokens)[None]
    n_layers = decoder.config.get_text_config().num_hidden_layers  # type: ignore[union-attr,operator]
    real = torch.ones(together, tokens, dtype=torch.bool)
    cache.prefilling(range(together), [tokens] * together, real, [None] * n_layers)
    with rows_at(positions_1T):
        decoder(
            input_ids=torch.zeros(together, tokens, dtype=torch.long),
            position_ids=positions_1T,
            past_key_values=cache,
            use_cache=True,
        )
    pos_B = torch.full((rows,), tokens + new_tokens - 1)
    cache.stepping(pos_B, tokens + new_tokens)
    with rows_at(pos_B[:, None]):
        _step(model, rows, position_ids=pos_B[:, None], past_key_values=cache)


def _on_library(model: nn.Module, rows: int, together: int, tokens: int, new_tokens: int) -> None:
    """As `grouped` does it; where whole rows are computed at each step, the last step is as this prefill."""
    del rows, new_tokens
    decoder = find_decoder(model)
    cache = DynamicCache(config=decoder.config)
    name = cache_argument(decoder)
    with library_pass():
        decoder(
            input_ids=torch.zeros(together, tokens, dtype=torch.long),
            use_cache=True,
            **{name: cache},
            **positions_argument(decoder, 0, tokens),
        )
        _step(model, together, **{name: cache}, **positions_argument(decoder, tokens, 1))


def _step(model: nn.Module, rows: int, **given: Any) -> None:
    logits = model(input_ids=torch.zeros(rows, 1, dtype=torch.long), use_cache=True, logits_to_keep=1, **given).logits
    held = [logits.float().clone() for _ in range(LOGITS - 1)]
    del held


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive, the model's own apart."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._now: int = 0
        self._sizes = {held.untyped_storage()._cdata: 0 for held in (*model.parameters(), *model.buffers())}

    def __torch_dispatch__(
        self, func: Callable[..., Any], _types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                if storage._cdata not in self._sizes:
                    self._sizes[storage._cdata] = storage.nbytes()
                    self._now += storage.nbytes()
                    self.peak = max(self.peak, self._now)
                    weakref.finalize(storage, self._gone, storage._cdata)
        return made

    def _gone(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


class _Fused(TorchFunctionMode):
    """Kernels that take no more than what they put out: fused attention keeps no scores. On the meta device others would stand for them."""

    def __torch_function__(
        self, func: Callable[..., Any], _types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _, value = (args + tuple((kwargs or {}).get(name) for name in ("query", "key", "value")[len(args) :]))[:3]
            if query.shape[-1] == value.shape[-1]:  # heads of two widths have no fused kernel on every device
                return query.new_empty(*query.shape[:-1], value.shape[-1])
        if getattr(func, "__name__", "") in ("grouped_mm", "_grouped_mm"):
            return args[0].new_empty(args[0].shape[0], args[1].shape[-1])
        return func(*args, **(kwargs or {}))
