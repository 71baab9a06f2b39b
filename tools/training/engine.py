"""Greedy answers, steered or not, and window means of the stream: as little as the report of the cards needs.

Batches are left padded; every row carries its own push, added after one block at all positions. B rows, T positions, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.training.tokenizer import messages

Row = dict[str, str]
NEW_TOKENS = 48
ROWS = 192


@contextmanager
def pushed(model: LlamaForCausalLM, layer: int, push_BD: Tensor | None) -> Iterator[None]:
    """Within this context each row's push is added to the output of block `layer`."""
    if push_BD is None:
        yield
        return
    handle = model.model.layers[layer].register_forward_hook(lambda _, args, out: out + push_BD[:, None])
    try:
        yield
    finally:
        handle.remove()


def encoded(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Left-padded ids and attention of the rows' chats, up to the generation marker."""
    chats = [messages(row.get("question") or row["prompt"], row.get("system_prompt", "")) for row in rows]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@torch.no_grad()
def generate_ids(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    layer: int = 0,
    push_ND: Tensor | None = None,
    new_tokens: int = NEW_TOKENS,
) -> list[list[int]]:
    """Greedy answer ids of each row without the end token; a longer answer is cut at `new_tokens`."""
    out: list[list[int]] = []
    for at in range(0, len(rows), ROWS):
        inputs = encoded(tokenizer, rows[at : at + ROWS])
        with pushed(model, layer, None if push_ND is None else push_ND[at : at + ROWS]):
            ids = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
        for row in ids[:, inputs["input_ids"].shape[1] :].tolist():
            out.append(row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row)
    return out


def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    layer: int = 0,
    push_ND: Tensor | None = None,
) -> list[str]:
    """Greedy answers as text."""
    return [tokenizer.decode(ids) for ids in generate_ids(model, tokenizer, rows, layer, push_ND)]


def window_means(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], stop: int = 5) -> Tensor:
    """Mean stream over `response[:stop]` of each row's own greedy answer, after every block: `[L, N, D]`, float32."""
    replies = generate_ids(model, tokenizer, rows, new_tokens=stop)
    means: list[Tensor] = []
    for row, reply in zip(rows, replies, strict=True):
        prompt = encoded(tokenizer, [row])["input_ids"][0]
        ids = torch.cat([prompt, torch.tensor(reply, dtype=prompt.dtype)])[None]
        means.append(streams(model, ids)[:, 0, len(prompt) :].mean(1))
    return torch.stack(means, 1)


@torch.no_grad()
def streams(model: LlamaForCausalLM, ids_BT: Tensor) -> Tensor:
    """The stream after every block, before the final norm: `[L, B, T, D]`."""
    seen: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, args, out: seen.append(out)) for layer in model.model.layers]
    try:
        model(input_ids=ids_BT)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(seen)
