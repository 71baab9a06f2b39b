"""The text of a row is that of the row alone, in any batch and after running out of memory; bad prompts are refused."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ml.tiny_models import ARCHITECTURES, BOS, CONTEXT, EOS_IDS, SPECIAL, VOCAB
from workers.lm import choosing, refilling
from workers.lm.errors import ModelFault
from workers.lm.generation import GenerationCounts, generate_greedy
from workers.lm.model import LanguageModel

Prompts = list[list[int]]


def naive(lm: LanguageModel, prompt: Sequence[int], new: int) -> list[int]:
    """The reference: one row, no batch, no padding, no cache; the whole sequence is computed again for each token."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(new):
            token = int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in lm.eos_ids:
                break
            ids.append(token)
    return ids[len(prompt) :]


def some_prompts(seed: int, rows: int, longest: int = 30) -> Prompts:
    draw = random.Random(seed)
    return [[BOS, *(draw.randrange(len(SPECIAL), VOCAB) for _ in range(draw.randrange(longest)))] for _ in range(rows)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_row_in_a_batch_equals_the_row_alone(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    """Unequal lengths, rows that end at different steps, sliding windows shorter than the rows."""
    prompts = some_prompts(1, 8)
    endless = replace(tiny_lm(arch), eos_ids=frozenset())
    answers = [naive(endless, prompt, 20) for prompt in prompts]
    lm = replace(endless, eos_ids=frozenset(answer[3 * row] for row, answer in enumerate(answers[:6])))
    alone = [list(takewhile(lambda token: token not in lm.eos_ids, answer)) for answer in answers]
    assert len({len(answer) for answer in alone}) > 2, "the rows should end at different steps, or nothing is proven"
    assert generate_greedy(lm, prompts, max_new_tokens=20, batch_rows=8) == alone
    assert generate_greedy(endless, prompts, max_new_tokens=20, batch_rows=8) == answers


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gpt2", "gpt_neox", "olmo2"])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 7),
    batch=st.integers(1, 8),
    longest=st.integers(1, 40),
    new=st.integers(1, 16),
)
def test_text_does_not_depend_on_the_batch_plan(
    arch: str, tiny_lm: Callable[..., LanguageModel], seed: int, rows: int, batch: int, longest: int, new: int
) -> None:
    lm = tiny_lm(arch)
    prompts = some_prompts(seed, rows, longest)
    assert generate_greedy(lm, prompts, max_new_tokens=new, batch_rows=batch) == [naive(lm, prompt, new) for prompt in prompts]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_text_equals_the_librarys_own_generate(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch)
    prompts = some_prompts(2, 4)
    ours = generate_greedy(lm, prompts, max_new_tokens=20, batch_rows=4)
    for prompt, answer in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=20,
            eos_token_id=list(EOS_IDS),
            pad_token_id=0,
        )
        new = theirs[0, len(prompt) :].tolist()
        assert answer == [token for token in new if token not in EOS_IDS]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_two_ways_of_computing_a_row_differ_by_far_less_than_the_near_tie_margin(
    arch: str, tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors below a tenth of NEAR_TIE cannot overturn a gap of NEAR_TIE, so rows are computed alone only at smaller gaps."""
    lm = tiny_lm(arch)
    worst = 0.0
    choose = choosing.choose

    def measured(
        logits_BV: torch.Tensor, alone: Callable[[int], torch.Tensor], *, settle: list[int], draws: dict[int, Any]
    ) -> tuple[list[int | None], int]:
        nonlocal worst
        for row in settle:
            reference = alone(row)
            worst = max(worst, float((logits_BV[row] - reference).abs().max() / reference.abs().max()))
        return choose(logits_BV, alone, settle=settle, draws=draws)

    monkeypatch.setattr(refilling, "choose", measured)
    generate_greedy(lm, some_prompts(3, 8), max_new_tokens=16, batch_rows=8)
    assert 0 < worst < choosing.NEAR_TIE / 10


def test_near_ties_are_settled_by_the_row_alone(tiny_lm: Callable[..., LanguageModel]) -> None:
    """A hundred tokens have a twin with almost the same logit, so steps nearly tie: whichever the batch prefers, the row alone decides."""
    lm = tiny_lm("llama", seed=5)
    prompts = some_prompts(4, 6)
    head = lm.model.lm_head.weight
    kept = head.clone()
    try:
        half = VOCAB // 2
        head.data[half : half + 100] = head.data[20:120] * (1 + 1e-6)
        counts = GenerationCounts()
        together = generate_greedy(lm, prompts, max_new_tokens=12, batch_rows=6, counts=counts)
        assert together == [naive(lm, prompt, 12) for prompt in prompts]
        assert counts.settled_alone > 0
    finally:
        head.data.copy_(kept)


def test_a_choice_within_the_margin_is_made_by_the_row_alone(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Within the margin the row alone decides, outside it the batch does."""
    logits_BV = torch.tensor([[1.0, 10.0, 10.0 - 5e-4], [1.0, 10.0, 10.0 - 5e-3]])
    asked: list[int] = []

    def alone(row: int) -> torch.Tensor:
        asked.append(row)
        return torch.tensor([0.0, 1.0, 2.0])

    assert choosing.choose(logits_BV, alone, settle={0, 1}) == ([2, 1], 1)
    assert asked == [0]
    assert choosing.choose(logits_BV, alone, settle={1}) == ([1, 1], 0)
    assert choosing.choose(logits_BV, alone, settle=()) == ([1, 1], 0)


class OutOfMemoryAbove:
    """A forward that raises the error of the CPU's allocator for more than `rows` rows, and counts its failures."""

    def __init__(self, lm: LanguageModel, rows: int) -> None:
        self.rows, self.forward, self.failures = rows, lm.model.forward, 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        ids = kwargs["input_ids"]
        assert isinstance(ids, torch.Tensor)
        if len(ids) > self.rows:
            self.failures += 1
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return self.forward(*args, **kwargs)


@pytest.mark.parametrize("fits", [1, 2, 3, 6])
def test_halving_after_out_of_memory_gives_the_same_text(
    fits: int, tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("gemma2")
    prompts = some_prompts(6, 11)
    alone = [naive(lm, prompt, 10) for prompt in prompts]
    forward = OutOfMemoryAbove(lm, fits)
    monkeypatch.setattr(lm.model, "forward", forward)
    counts, done = GenerationCounts(), dict[int, list[int]]()
    together = generate_greedy(lm, prompts, max_new_tokens=10, batch_rows=11, counts=counts, on_rows_done=done.update)
    assert together == alone == [done[i] for i in range(11)]
    assert forward.failures == counts.halvings > 0
    assert counts.smallest_batch <= fits
    assert counts.rows_done == 11


def test_rows_are_reported_once_each_and_progress_counts_every_token(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")
    prompts = some_prompts(7, 10)
    reported: list[tuple[int, list[int]]] = []
    steps: list[int] = []
    answers = generate_greedy(
        lm, prompts, max_new_tokens=8, batch_rows=4, on_rows_done=reported.extend, on_step=lambda c: steps.append(c.tokens_done)
    )
    assert sorted(reported) == list(enumerate(answers))
    ended = sum(len(answer) < 8 for answer in answers)  # the end-of-sequence token was computed too
    assert steps == sorted(steps)
    assert steps[-1] == sum(map(len, answers)) + ended


def test_an_exception_of_the_callback_passes_through_and_the_model_still_works(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")
    prompts = some_prompts(8, 3)

    class CancelledError(Exception):
        pass

    def cancel(counts: GenerationCounts) -> None:
        if counts.tokens_done > 5:
            raise CancelledError

    with pytest.raises(CancelledError):
        generate_greedy(lm, prompts, max_new_tokens=20, batch_rows=3, on_step=cancel)
    assert generate_greedy(lm, prompts, max_new_tokens=5, batch_rows=3) == [naive(lm, prompt, 5) for prompt in prompts]


def test_finished_rows_leave_the_batch(tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    prompts = some_prompts(9, 12)
    sizes: list[int] = []
    forward = lm.model.forward

    def watched(*args: object, **kwargs: object) -> object:
        if kwargs.get("past_key_values") is not None:
            sizes.append(len(kwargs["input_ids"]))  # type: ignore[arg-type]
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.model, "forward", watched)
    answers = generate_greedy(lm, prompts, max_new_tokens=60, batch_rows=12)
    computed = sum(len(answer) + 1 for answer in answers)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] == 12
    assert sum(sizes) < 2 * computed  # without leaving it would be 12 rows x 60 steps


@pytest.mark.parametrize(
    ("prompts", "new", "code"),
    [
        ([[]], 5, "empty_prompt"),
        ([[BOS], [BOS] * (CONTEXT - 4)], 5, "prompt_too_long"),
        ([[BOS, VOCAB]], 5, "token_out_of_range"),
        ([[BOS, -1]], 5, "token_out_of_range"),
        ([[BOS]], 0, "nothing_to_generate"),
    ],
)
def test_bad_prompts_are_refused_before_anything_is_computed(
    prompts: Prompts, new: int, code: str, tiny_lm: Callable[..., LanguageModel]
) -> None:
    started: list[object] = []
    with pytest.raises(ModelFault) as fault:
        generate_greedy(tiny_lm("llama"), prompts, max_new_tokens=new, batch_rows=2, on_step=started.append)
    assert fault.value.code == code
    assert not started


def test_the_whole_context_can_be_used(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Learned positions end at the context's last token: one more would be an index error."""
    lm = tiny_lm("gpt2")
    prompt = some_prompts(10, 1)[0] + [50] * (CONTEXT - 40)
    new = CONTEXT - len(prompt)
    assert generate_greedy(lm, [prompt, [BOS]], max_new_tokens=new, batch_rows=2)[0] == naive(lm, prompt, new)
    assert generate_greedy(lm, [], max_new_tokens=new, batch_rows=2) == []


def test_overflowing_activations_are_a_fault_and_not_text(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama", seed=6)
    norm = lm.model.model.norm.weight
    kept = norm.clone()
    try:
        norm.data.fill_(float("inf"))
        with pytest.raises(ModelFault, match="activations_not_finite"):
            generate_greedy(lm, [[BOS, 50]], max_new_tokens=3, batch_rows=1)
    finally:
        norm.data.copy_(kept)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_bfloat16_runs_in_batches(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch, dtype="bfloat16")
    counts = GenerationCounts()
    answers = generate_greedy(lm, some_prompts(11, 5), max_new_tokens=8, batch_rows=3, counts=counts)
    assert [len(answer) <= 8 for answer in answers] == [True] * 5
    assert any(answers)
    assert counts.settled_alone == 0


def test_the_pretrained_model_writes_the_same_story_in_any_batch(pretrained: LanguageModel) -> None:
    texts = ["Once upon a time ", "The cat ", "A big red dog ran to the park and ", "Lily ", "One day, Tom and his mom "]
    prompts = [pretrained.tokenizer(text)["input_ids"] for text in texts]
    alone = [naive(pretrained, prompt, 40) for prompt in prompts]
    for rows in (2, 5):
        assert generate_greedy(pretrained, prompts, max_new_tokens=40, batch_rows=rows) == alone
    assert all(alone), "each prompt has a story"
