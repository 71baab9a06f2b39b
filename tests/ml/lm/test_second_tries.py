"""A pass that runs out of memory is repeated with the same result, at whichever allocation of the pass memory ran out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.ml.lm.test_likelihood import shared_prompts
from workers.lm.kept_prompts import KeptPrompts
from workers.lm.model import LanguageModel
from workers.lm.proofs.shared_prefix import largest_shared_difference, related_rows


@contextmanager
def out_of_memory_at_copy(number: int) -> Iterator[list[int]]:
    """Makes the `number`-th Tensor.clone fail as an allocation does (-1: none). Yields the number of clones so far."""
    real, copies = torch.Tensor.clone, [0]

    def clone(tensor: torch.Tensor) -> torch.Tensor:
        copies[0] += 1
        if copies[0] == number:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")
        return real(tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "clone", clone)
        yield copies


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_prompts_are_kept_as_if_memory_had_not_run_out(tiny_lm: Callable[..., LanguageModel], part: float) -> None:
    lm = tiny_lm("llama")
    prompts = [list(range(first, first + 10)) for first in range(5, 65, 10)]  # of one length: all in one pass
    undisturbed = KeptPrompts(lm, prompts)
    with out_of_memory_at_copy(-1) as copies:
        expected = undisturbed.among(prompts)
    assert undisturbed._kept is not None
    columns = undisturbed._kept.columns
    disturbed = KeptPrompts(lm, prompts)
    with out_of_memory_at_copy(round(part * copies[0])) as repeated:
        found = disturbed.among(prompts)
    assert repeated[0] > copies[0]
    assert found.keys() == expected.keys() == set(map(tuple, prompts))
    assert all(torch.equal(found[prompt], expected[prompt]) for prompt in found)
    assert disturbed._kept is not None
    assert disturbed._kept.columns == columns


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_the_proof_of_shared_prefixes_finds_the_same_difference(tiny_lm: Callable[..., LanguageModel], part: float) -> None:
    lm, rows = tiny_lm("llama"), related_rows(shared_prompts())
    with out_of_memory_at_copy(-1) as copies:
        expected = largest_shared_difference(lm, rows, lambda: None)
    with out_of_memory_at_copy(round(part * copies[0])) as repeated:
        assert largest_shared_difference(lm, rows, lambda: None) == expected
    assert repeated[0] > copies[0]
