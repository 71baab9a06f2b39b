"""Greedy decoding of one batch: left-padded prefill, key-value cache, rows that leave when they end.

Shapes: B rows still in the batch, T positions so far, V vocabulary. Knows one batch; splitting work into batches is
`generation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.lm.choosing import choose, logits_alone
from workers.lm.model import LanguageModel


@dataclass
class _Row:
    """One row's ids; `place` is its index among the batch's prompts."""

    place: int
    prompt: list[int]
    answer: list[int] = field(default_factory=list)
    done: bool = False


def decode_batch(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, on_step: Callable[[int], None]
) -> tuple[list[list[int]], int]:
    """Each prompt's greedy answer, without the end-of-sequence token, and how many choices were settled alone.

    `on_step(rows)` is called after each step with the number of rows that got a token; what it raises passes through.
    """
    rows = [_Row(place, list(prompt)) for place, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in rows]
    settle_ties = lm.dtype == torch.float32
    settled = 0
    with torch.no_grad():
        ids_BT, mask_BT = _left_padded(lm, prompts)
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=lm.text_config)
        for _ in range(max_new_tokens):
            logits_BV = lm.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            ids, near = choose(logits_BV, _alone(lm, rows), settle_ties=settle_ties)
            settled += near
            stepped = _extend(rows, ids, lm.eos_ids, max_new_tokens)
            on_step(stepped)
            keep = _kept(rows)
            if keep is not None:
                for row in rows:
                    if row.done:
                        answers[row.place] = row.answer
                rows = [rows[index] for index in keep]
                if not rows:
                    break
                kept = torch.tensor(keep, device=lm.device)
                cache.batch_select_indices(kept)
                ids, mask_BT, positions_BT = [ids[index] for index in keep], mask_BT[kept], positions_BT[kept]
            ids_BT = torch.tensor([[token] for token in ids], device=lm.device)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=-1)
            positions_BT = positions_BT[:, -1:] + 1
    return answers, settled


def _left_padded(lm: LanguageModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask, both [B, T]: the prompts end at the same column, so that all rows take their next token there."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[lm.pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=lm.device), torch.tensor(mask, device=lm.device)


def _alone(lm: LanguageModel, rows: list[_Row]) -> Callable[[int], Tensor]:
    """The logits of one of the batch's rows by itself; a row that has ended is not computed again."""

    def alone(index: int) -> Tensor:
        row = rows[index]
        if row.done:
            return torch.zeros(1)
        return logits_alone(lm, row.prompt + row.answer)

    return alone


def _extend(rows: list[_Row], ids: Sequence[int], eos_ids: frozenset[int], max_new_tokens: int) -> int:
    """Append each live row's token, or end the row; how many rows were live."""
    live = 0
    for row, token in zip(rows, ids, strict=True):
        if row.done:
            continue
        live += 1
        if token in eos_ids:
            row.done = True
        else:
            row.answer.append(token)
            row.done = len(row.answer) == max_new_tokens
    return live


def _kept(rows: list[_Row]) -> list[int] | None:
    """The live rows' indices once at least half of the batch has ended, else None: copying the cache costs about one step."""
    live = [index for index, row in enumerate(rows) if not row.done]
    return live if 2 * len(live) <= len(rows) else None
