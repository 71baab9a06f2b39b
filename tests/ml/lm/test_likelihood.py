"""Mean log-likelihoods equal naive log-softmaxes in every architecture, at any batch size and with shared or kept prompts; settled values are
equal to the last bit."""

import random
from collections.abc import Callable

import pytest
import torch

from tests.ml.lm.test_lm_generation import OutOfMemoryAbove
from tests.ml.tiny_models import ARCHITECTURES, SPECIAL, VOCAB
from workers.lm import likelihood
from workers.lm.errors import ModelFault
from workers.lm.kept_prompts import KeptPrompts
from workers.lm.likelihood import MARGIN, PRECISION, log_likelihood_alone, mean_log_likelihoods, settled
from workers.lm.model import LanguageModel

Rows = list[list[int]]


def some_rows(seed: int, count: int, longest: int) -> Rows:
    rng = random.Random(seed)
    return [[rng.randrange(len(SPECIAL), VOCAB) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def naive(lm: LanguageModel, prompt: list[int], answer: list[int]) -> float:
    """The whole model's own logits for one row, each token's log-softmax read off one by one in float64."""
    with torch.no_grad():
        logits_TV = lm.model(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0].double()
    found = [logits_TV[len(prompt) - 1 + t].log_softmax(-1)[token].item() for t, token in enumerate(answer)]
    return sum(found) / len(found)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_likelihoods_with_and_without_a_shared_prompt_equal_the_naive_row(
    arch: str, tiny_lm: Callable[..., LanguageModel]
) -> None:
    """With 1e-5: float32 logits of about 30 have relative errors of 4e-6 at single tokens (workers/lm/choosing.py), means over tokens less.

    Prompts go beyond the sliding window of 12, so that the shared prompt's cache has forgotten its beginning.
    """
    lm = tiny_lm(arch)
    prompts, answers = some_rows(1, 6, 30), some_rows(2, 6, 20)
    expected = [naive(lm, *row) for row in zip(prompts, answers, strict=True)]
    assert mean_log_likelihoods(lm, prompts, answers, batch_rows=4) == pytest.approx(expected, abs=1e-5)
    long = [*prompts[1], *prompts[2], *prompts[3]]
    related = [
        *answers,
        [*answers[0], 9, 8],
        [*answers[0], 9, 7],
        answers[0][:1],
        answers[1],
    ]  # some are prefixes of others, one comes twice
    for prompt in (prompts[0], long):
        expected = [naive(lm, prompt, answer) for answer in related]
        assert mean_log_likelihoods(lm, [prompt] * len(related), related, batch_rows=4) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_other_batches_differ_by_less_than_a_third_of_the_margin(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch)
    prompts, answers = some_rows(3, 24, 25), some_rows(4, 24, 25)
    alone = [log_likelihood_alone(lm, *row) for row in zip(prompts, answers, strict=True)]
    kept = KeptPrompts(lm, prompts[::2])
    for rows, shared in ((5, None), (24, None), (24, kept)):
        together = mean_log_likelihoods(lm, prompts, answers, batch_rows=rows, kept=shared)
        assert max(abs(a - b) for a, b in zip(alone, together, strict=True)) < MARGIN / 3


def shared_prompts() -> Rows:
    """Prompts of several lengths, some beyond the sliding window of 12; two share a prefix long enough to be computed once."""
    system = some_rows(14, 1, 30)[0] * 3
    return [*some_rows(15, 4, 30), [*system, 9, 8, 7], [*system, 6]]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_likelihoods_after_kept_prompts_equal_the_naive_row(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    """In one batch after prompts of different lengths, also answers of one token; the second call finds all prompts kept."""
    lm = tiny_lm(arch)
    kept = KeptPrompts(lm, [*shared_prompts(), shared_prompts()[0]])
    prompts = [prompt for prompt in (*shared_prompts(), some_rows(16, 1, 9)[0]) for _ in range(4)]
    answers = [answer for _ in range(7) for answer in (*some_rows(17, 3, 25), [11])]
    expected = [naive(lm, *row) for row in zip(prompts, answers, strict=True)]
    counted: list[int] = []
    for rows in (3, 64):
        found = mean_log_likelihoods(lm, prompts, answers, batch_rows=rows, kept=kept, on_rows=counted.append)
        assert found == pytest.approx(expected, abs=1e-5)
    assert sum(counted) == 2 * len(prompts)
    assert bool(kept.among(prompts)) == (lm.layout.structure.engine == "slots")


def test_kept_prompts_are_computed_once_in_whatever_order_they_are_read(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Values are equal to the last bit whichever prompt was read first; later calls compute few tokens besides the answers', in few passes."""
    lm = tiny_lm("llama")
    prompts = [prompt for prompt in shared_prompts() for _ in range(3)]
    answers = some_rows(18, 3, 12) * 6
    runs, tokens = [], []
    for first in (slice(1), slice(-2, None)):
        kept = KeptPrompts(lm, shared_prompts())
        mean_log_likelihoods(lm, prompts[first], answers[first], batch_rows=64, kept=kept)
        hook = lm.layout.site(0, "residual").register_forward_pre_hook(
            lambda _m, inputs: tokens.append(inputs[0].shape[:2].numel())
        )
        runs.append(mean_log_likelihoods(lm, prompts, answers, batch_rows=64, kept=kept))
        hook.remove()
    assert runs[0] == runs[1]
    assert sum(tokens) <= 1.06 * 2 * sum(len(answer) - 1 for answer in answers)
    assert len(tokens) <= 2 * len({len(answer) for answer in answers})


def test_prompts_that_do_not_fit_are_not_kept(tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """All prompts, some, none, or none kept after memory ran out: the likelihoods stay."""
    lm = tiny_lm("llama")
    prompts, answers = shared_prompts(), some_rows(19, 6, 12)
    expected = mean_log_likelihoods(lm, prompts, answers, batch_rows=8)
    layers, heads, width = (getattr(lm.text_config, name) for name in ("num_hidden_layers", "num_key_value_heads", "head_dim"))
    token = 2 * layers * heads * width * 4  # bytes of keys and values
    numbers = []
    for room in (0, 40 * token, 10_000 * token):
        kept = KeptPrompts(lm, prompts, room=room)
        assert mean_log_likelihoods(lm, prompts, answers, batch_rows=8, kept=kept) == pytest.approx(expected, abs=1e-5)
        numbers.append(len(kept.among(prompts)))
    assert numbers[0] == 0 < numbers[1] < numbers[2] == len(prompts)
    forward = OutOfMemoryAbove(lm, 1)
    forward.forward = lm.layout.decoder.forward
    monkeypatch.setattr(lm.layout.decoder, "forward", forward)
    equally_long = [[*range(20, 20 + len(prompts))]] * len(prompts)
    expected = [log_likelihood_alone(lm, *row) for row in zip(prompts, equally_long, strict=True)]
    assert mean_log_likelihoods(lm, prompts, equally_long, batch_rows=8, kept=kept) == pytest.approx(expected, abs=1e-5)
    assert forward.failures > 0
    assert not kept.among(prompts)


def test_settled_values_are_the_same_in_every_batch_with_or_without_a_shared_prompt(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a precision near the error every value is near a rounding border, so all are computed alone and are equal to the last bit."""
    lm = tiny_lm("llama")
    prompt = some_rows(5, 1, 20)[0]
    answers = some_rows(6, 16, 20)
    prompts = [prompt] * len(answers)
    monkeypatch.setattr(likelihood, "PRECISION", MARGIN)
    runs = [mean_log_likelihoods(lm, prompts, answers, batch_rows=rows) for rows in (1, 3, 16)]
    runs.append(mean_log_likelihoods(lm, [[*prompt, 5], *prompts], [answers[0], *answers], batch_rows=7)[1:])
    results = [settled(lm, way, prompts, answers) for way in runs]
    assert all(result == results[0] for result in results)


def test_only_values_near_a_rounding_border_are_computed_alone(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def alone(lm: LanguageModel, prompt: list[int], answer: list[int]) -> float:
        asked.append(answer)
        return -1.2349

    monkeypatch.setattr(likelihood, "log_likelihood_alone", alone)
    values = [-1.234 + MARGIN, -1.235 + MARGIN / 2, -1.235 - MARGIN / 2, -1.236]
    found = settled(tiny_lm("llama"), values, [[1]] * 4, [[10], [11], [12], [13]])
    assert found == [-1.23, -1.23, -1.23, -1.24]
    assert asked == [[11], [12]]
    assert PRECISION == 0.01


def test_shared_prefixes_of_prompts_and_answers_are_computed_once(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Every text after every prompt, as the reference judge reads them. Counts tokens in blocks, and positions at which the LM head runs."""
    lm = tiny_lm("llama")
    system, texts = some_rows(11, 1, 30)[0] * 3, some_rows(13, 10, 12)
    tails = [[token, *range(20, 28)] for token in range(10, 18)]
    prompts = [[*system, *tail] for tail in tails for _ in texts]
    answers = texts * len(tails)
    tokens: list[int] = []
    heads: list[int] = []
    hooks = [
        lm.layout.site(0, "residual").register_forward_pre_hook(lambda _m, inputs: tokens.append(inputs[0].shape[:2].numel())),
        lm.model.get_output_embeddings().register_forward_hook(lambda _m, inputs, _o: heads.append(len(inputs[0]))),
    ]
    mean_log_likelihoods(lm, prompts, answers, batch_rows=64)
    for hook in hooks:
        hook.remove()
    once = len(system) + sum(map(len, tails))
    assert sum(tokens) <= 1.1 * (once + len(tails) * sum(len(text) - 1 for text in texts))
    assert sum(heads) <= len(tails) * (1 + sum(len(text) - 1 for text in texts))


@pytest.mark.parametrize("fits", [1, 2])
def test_running_out_of_memory_halves_the_batch(
    fits: int, tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_lm("llama")
    prompts, answers = some_rows(7, 11, 10), some_rows(8, 11, 10)
    expected = mean_log_likelihoods(lm, prompts, answers, batch_rows=1)
    forward = OutOfMemoryAbove(lm, fits)
    forward.forward = lm.layout.decoder.forward
    monkeypatch.setattr(lm.layout.decoder, "forward", forward)
    counted: list[int] = []
    found = mean_log_likelihoods(lm, prompts, answers, batch_rows=11, on_rows=counted.append)
    assert found == pytest.approx(expected, abs=1e-5)
    assert forward.failures > 0
    assert sum(counted) == 11


def test_the_head_never_sees_more_positions_than_its_budget(
    tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vocabulary of 262,144 times a batch of answers would be gigabytes of logits."""
    lm = tiny_lm("llama")
    prompts, answers = some_rows(9, 8, 40), some_rows(10, 8, 10)
    expected = mean_log_likelihoods(lm, prompts, answers, batch_rows=8)
    monkeypatch.setattr(likelihood, "HEAD_BYTES", 7 * 4 * VOCAB)
    seen: list[int] = []
    head = lm.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    try:
        assert mean_log_likelihoods(lm, prompts, answers, batch_rows=8) == pytest.approx(expected, abs=1e-5)
    finally:
        handle.remove()
    assert max(seen) == 7
    assert sum(seen) == sum(map(len, answers))


@pytest.mark.parametrize(
    ("prompt", "answer", "code"),
    [
        ([1], [], "empty_answer"),
        ([], [5], "empty_prompt"),
        ([1] * 250, [5] * 7, "prompt_too_long"),
        ([1], [VOCAB], "token_out_of_range"),
    ],
)
def test_rows_without_a_likelihood_are_refused(
    prompt: list[int], answer: list[int], code: str, tiny_lm: Callable[..., LanguageModel]
) -> None:
    with pytest.raises(ModelFault) as fault:
        mean_log_likelihoods(tiny_lm("llama"), [prompt], [answer], batch_rows=1)
    assert fault.value.code == code


def test_no_rows_give_no_likelihoods(tiny_lm: Callable[..., LanguageModel]) -> None:
    assert mean_log_likelihoods(tiny_lm("llama"), [], [], batch_rows=4) == []
