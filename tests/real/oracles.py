"""What both models must satisfy, each against something independent: the definitions in float64, plain transformers, one row at a time."""

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from terms.positions import parse_position
from tests.ml.calibrating import assert_agrees, calibrate, reference_of
from tests.ml.fake_context import FakeContext
from tests.ml.steered_rows import pushed, texts
from workers.handlers.calibration import shipped_prompts
from workers.lm.gather import Example, gather_rows
from workers.lm.generation import generate_greedy
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.steered import SteeredRow, generate_steered

QUESTIONS = (
    "What is the capital of France?",
    "Name three fruits, one per line.",
    "Why is the sky blue?",
    "Write 17 + 25 and its sum.",
    "Say hello in two languages.",
    "What does a compass do?",
    "Give me a reason to read books.",
    "Which is heavier, iron or wood?",
)


def calibration_agrees(lm: LanguageModel) -> dict[str, Any]:
    """Six prompts, every layer, every field to one unit of its last digit; returns the calibration's aggregate."""
    prompts = shipped_prompts()[:6]
    context = FakeContext(lm)
    found: dict[str, Any] = calibrate(lm, context, prompts=prompts, max_new_tokens=16)["aggregate"]
    answers = [answer for name in sorted(context.cells) for answer in json.loads(context.cells[name])]
    for text, answer in zip(prompts, answers, strict=True):
        assert_greedy(lm, SteeredRow(encode_prompt(lm, text)), answer, 16)
    assert_agrees(found, reference_of(lm, prompts, 16, answers=answers).aggregate(found["massive_dims"]["rule"]))
    return found


def assert_greedy(lm: LanguageModel, row: SteeredRow, answer: list[int], new: int) -> None:
    """The answer is what a loop would write that runs the whole row, alone and without cache, again for each token.

    Seen in one pass over prompt and answer: at every position the likeliest token is the one that follows. So is the loop's first token the
    answer's, and each next one after those before it, because the model is causal (which is proved).
    """
    prompt = list(row.prompt_ids)
    with torch.no_grad(), pushed(lm, row.pushes, len(prompt)):
        logits = lm.model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0, len(prompt) - 1 :]
    likeliest = logits.argmax(-1).tolist()
    assert answer == likeliest[: len(answer)]
    assert not lm.eos_ids & set(answer)
    assert len(answer) == new or likeliest[len(answer)] in lm.eos_ids


def greedy_agrees(lm: LanguageModel, new: int) -> None:
    """Eight prompts in one batch against `model.generate`, one prompt at a time."""
    prompts = [encode_prompt(lm, question) for question in QUESTIONS]
    ours = generate_greedy(lm, prompts, max_new_tokens=new, batch_rows=8)
    for prompt, answer in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        whole = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new,
            eos_token_id=sorted(lm.eos_ids),
            pad_token_id=lm.pad_id,
        )
        assert answer == [token for token in whole[0, len(prompt) :].tolist() if token not in lm.eos_ids]


def steered_agrees(lm: LanguageModel, new: int) -> None:
    """Eight rows with layers, vectors and doses of their own, in batches of three, against a loop without batch and cache."""
    draw = random.Random(0)
    layers = lm.layout.n_layers
    rows = []
    for number, question in enumerate(QUESTIONS):
        vector = torch.randn(lm.layout.hidden_size, generator=torch.Generator().manual_seed(number))
        layer = draw.randrange(layers)
        push = Push(layer, "residual", vector / vector.norm(), 0.5 * _typical_norm(lm, layer), "add", "all", (), plain=False)
        rows.append(SteeredRow(encode_prompt(lm, question), (push,) if number else ()))
    ours = texts(generate_steered(lm, rows, max_new_tokens=new, batch_rows=3))
    for row, answer in zip(rows, ours, strict=True):
        assert_greedy(lm, row, answer, new)
    assert ours[1:] != generate_greedy(lm, [row.prompt_ids for row in rows[1:]], max_new_tokens=new, batch_rows=8), (
        "pushes must act"
    )


def extraction_agrees(lm: LanguageModel) -> None:
    """Rows captured in a batch, and the mean difference of them, against the library's own hidden states of one text at a time.

    1e-4 relative: both are float32 sums, in another order.
    """
    layers = [0, lm.layout.n_layers // 2, lm.layout.n_layers - 2]
    answers = [lm.tokenizer.encode(text, add_special_tokens=False) for text in (" It is so.", " No, I cannot tell you that.")]
    examples = [Example(encode_prompt(lm, question), answers[n % 2]) for n, question in enumerate(QUESTIONS)]
    position = parse_position("response[:5]")
    rows = gather_rows(lm, examples, positions=[position], components=["residual"], layers=layers)
    alone = [_alone(lm, one, layers) for one in examples]
    for layer in layers:
        found = rows.values[str(position), "residual", layer].double().numpy()
        expected = np.stack([states[layer] for states in alone])
        assert _far(found, expected) <= 1e-4
        differences = [side[::2].mean(0) - side[1::2].mean(0) for side in (found, expected)]
        assert _far(*differences) <= 1e-4


def _alone(lm: LanguageModel, example: Example, layers: Sequence[int]) -> dict[int, Any]:
    """The mean over the first five response tokens of each layer's output, [D] in float64."""
    with torch.no_grad():
        ids = torch.tensor([[*example.prompt_ids, *example.response_ids]])
        states = lm.model(ids, output_hidden_states=True, use_cache=False).hidden_states
    start = len(example.prompt_ids)
    return {layer: states[layer + 1][0, start : start + 5].double().mean(0).numpy() for layer in layers}


def _far(found: Any, expected: Any) -> float:
    return float(np.max(np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)))


def _typical_norm(lm: LanguageModel, layer: int) -> float:
    with torch.no_grad():
        ids = torch.tensor([encode_prompt(lm, QUESTIONS[0])])
        states = lm.model(ids, output_hidden_states=True, use_cache=False).hidden_states
    return float(states[layer + 1][0, 1:].norm(dim=-1).median())
