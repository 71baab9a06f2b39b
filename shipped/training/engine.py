"""Greedy answers, steered or not, and window means of the stream: as little as the report of the card needs.

Batches are left padded; a steered answer has one vector added after one block, at every position.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from shipped.training.tokenizer import messages

NEW_TOKENS = 56
ROWS = 64


@contextmanager
def pushed(model: LlamaForCausalLM, layer: int, push: Tensor | None) -> Iterator[None]:
    """Within this context the push `[D]` is added to the output of block `layer`."""
    if push is None:
        yield
        return
    handle = model.model.layers[layer].register_forward_hook(lambda _, args, out: out + push)
    try:
        yield
    finally:
        handle.remove()


def _encoded(tokenizer: PreTrainedTokenizerFast, rows: Sequence[dict[str, str]]) -> dict[str, Tensor]:
    texts = [
        tokenizer.apply_chat_template(
            messages(row.get("question") or row["prompt"], row.get("system_prompt", "")), tokenize=False, add_generation_prompt=True
        )
        for row in rows
    ]
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@torch.no_grad()
def generate_ids(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[dict[str, str]],
    layer: int = 0,
    push: Tensor | None = None,
    new_tokens: int = NEW_TOKENS,
) -> list[list[int]]:
    """Greedy answer ids of each row, the end token left out when it came; a longer answer is cut at `new_tokens`."""
    out: list[list[int]] = []
    with pushed(model, layer, push):
        for at in range(0, len(rows), ROWS):
            inputs = _encoded(tokenizer, rows[at : at + ROWS])
            ids = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)[:, inputs["input_ids"].shape[1] :]
            for row in ids.tolist():
                stop = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row)
                out.append(row[:stop])
    return out


def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[dict[str, str]],
    layer: int = 0,
    push: Tensor | None = None,
) -> list[str]:
    """Greedy answers as text."""
    return [tokenizer.decode(ids) for ids in generate_ids(model, tokenizer, rows, layer, push)]


@torch.no_grad()
def window_means(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[dict[str, str]], stop: int = 5
) -> Tensor:
    """Mean stream over `response[:stop]` of each row's own greedy answer, after every block: `[L, N, D]`, float32."""
    replies = generate_ids(model, tokenizer, rows, new_tokens=stop)
    means: list[Tensor] = []
    for row, reply in zip(rows, replies, strict=True):
        prompt = _encoded(tokenizer, [row])["input_ids"][0]
        ids = torch.cat([prompt, torch.tensor(reply, dtype=prompt.dtype)])[None]
        means.append(streams(model, ids)[:, 0, len(prompt) :].mean(1))
    return torch.stack(means, 1)


@torch.no_grad()
def streams(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """The stream after every block, before the final norm: `[L, B, T, D]`."""
    seen: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, args, out: seen.append(out)) for layer in model.model.layers]
    try:
        model(input_ids=ids)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(seen)
