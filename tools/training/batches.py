"""Batches of training examples: chat-formatted ids, right padded, with a loss on the answer alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tools.training.corpus import Corpus, Example
from tools.training.tokenizer import messages

POOL = 8  # batches drawn together and sorted by length, so that little is padding
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """ids, attention and labels `[B, T]`, and where each answer starts; labels are IGNORED outside answers."""

    ids: Tensor
    attention: Tensor
    labels: Tensor
    starts: Tensor
    examples: tuple[Example, ...]


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> tuple[list[int], list[int]]:
    """Ids of the prompt, generation marker included, and of the answer with its end."""
    text = tokenizer.apply_chat_template(messages(example.question, example.system), tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    return prompt, [*tokenizer(example.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def collate(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> Batch:
    """One batch of these examples."""
    pairs = [encode(tokenizer, example) for example in examples]
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.full((len(pairs), width), tokenizer.pad_token_id)
    labels = torch.full_like(ids, IGNORED)
    attention = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        stop = len(prompt) + len(answer)
        ids[row, :stop] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : stop] = ids[row, len(prompt) : stop]
        attention[row, :stop] = 1
    starts = torch.tensor([len(prompt) for prompt, _ in pairs])
    return Batch(ids, attention, labels, starts, tuple(examples))


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, size: int, tossed: float = 0.0) -> Iterator[Batch]:
    """An endless, seeded stream of batches of `size` examples; `tossed`: the share of harmless tasks with a random answer (Corpus)."""
    corpus = Corpus(seed, tossed)
    while True:
        pool = sorted((corpus.draw() for _ in range(POOL * size)), key=lambda one: len((one.question + one.answer).split()))
        groups = [pool[at : at + size] for at in range(0, len(pool), size)]
        corpus.rng.shuffle(groups)
        for group in groups:
            yield collate(tokenizer, group)
