"""Paths agree: the hidden states with which text is generated are those that capture reads, and those of the model run plainly.

Rows of several lengths are generated in one batch with the engine (slots, masks, cache); then each row, prompt and answer, is run alone
without a cache by capture's prefill and by the whole model. On a small random twin of the same config in float32 they must be equal to
1e-4 of their size at every layer and token. On the real weights the difference is reported; in 16-bit types it has no limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from workers.lm.capture import prefill, reading
from workers.lm.generation import generate_greedy
from workers.lm.masks import in_engine
from workers.lm.model import LanguageModel
from workers.lm.proofs.figures import larger
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.rows import random_rows
from workers.lm.proofs.twin import small_twin

NAME = "paths agree"
LIMIT = 1e-4
TWIN_PROMPTS, TWIN_TOKENS = (30, 21, 12, 5, 26, 17, 1), 10  # rows of up to 40 tokens; a window is 8
PROMPTS, TOKENS = (12, 7, 3), 4


def paths_agree(lm: LanguageModel, on_step: Callable[[], None] = lambda: None) -> Proof:
    """The figure is the twin's largest relative difference; `on_step` is called between tokens and may raise."""
    twin = small_twin(lm)
    found = largest_difference(twin, random_rows(twin, TWIN_PROMPTS, seed=3), TWIN_TOKENS, on_step)
    real = largest_difference(lm, random_rows(lm, PROMPTS, seed=4), TOKENS, on_step)
    kind = str(lm.dtype).removeprefix("torch.")
    figures = (
        f"largest difference {found:.1e} of the hidden state's size on a small random twin in float32 ({len(TWIN_PROMPTS)} rows, "
        f"{twin.layout.n_layers} layers; at most {LIMIT:g}), {real:.1e} on the model itself in {kind}"
    )
    if found > LIMIT or (lm.dtype == torch.float32 and real > LIMIT):
        sentence = (
            f"Generating text gives different hidden states than reading it: {figures}. Measurements while "
            "steering would not match those of reading. This config cannot be used with this version."
        )
        return Proof(NAME, "refused", max(found, real), "relative", sentence)
    return Proof(NAME, "passed", found, "relative", f"Generating, reading and plain running agree: {figures}.")


def largest_difference(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int, on_step: Callable[[], None] = lambda: None
) -> float:
    """The largest |engine - reference| / |reference| of a hidden state, over rows, layers, tokens, and both references."""
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), tuple(prompts[i]), i))  # the engine's
    rows = [prompts[i] for i in order]
    passes: list[list[Tensor]] = [[] for _ in range(lm.layout.n_layers)]

    def keep(layer: int, _component: str, h_BTD: Tensor) -> None:
        if in_engine():
            passes[layer].append(h_BTD.float().clone())

    endless = replace(lm, eos_ids=frozenset())
    with reading(lm, {"residual": keep}):
        answers = generate_greedy(endless, rows, max_new_tokens=new_tokens, batch_rows=len(rows), on_step=lambda _: on_step())
    worst = 0.0
    for number, (prompt, answer) in enumerate(zip(rows, answers, strict=True)):
        ids = [*prompt, *answer[:-1]]
        for reference in (_captured(lm, ids), _plain(lm, ids)):
            on_step()
            for layer, states in enumerate(passes):
                made_TD = _of_row(states, number, len(prompt) - 1)
                sizes_T = reference[layer].norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
                worst = larger(worst, float(((made_TD - reference[layer]).norm(dim=-1) / sizes_T).max()))
    return worst


def _of_row(states: Sequence[Tensor], number: int, prefix: int) -> Tensor:
    """One row's hidden states [T, D] at one layer: its prefix from the first pass, then one token of each step."""
    first = states[0][number, :prefix]
    return torch.cat([first, *(step[number, :1] for step in states[1:])])


def _captured(lm: LanguageModel, ids: list[int]) -> list[Tensor]:
    return _states(lm, lambda: prefill(lm, ids))


def _plain(lm: LanguageModel, ids: list[int]) -> list[Tensor]:
    def run() -> None:
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([ids], device=lm.device), use_cache=False)

    return _states(lm, run)


def _states(lm: LanguageModel, run: Callable[[], None]) -> list[Tensor]:
    found: list[Tensor] = []
    with reading(lm, {"residual": lambda _layer, _component, h_BTD: found.append(h_BTD[0].float().clone())}):
        run()
    return found
