"""The rows of the proof that paths agree, and beginnings that lose their keys."""

from dataclasses import replace
from typing import Any

import pytest

from tests.families.models import tiny_family
from tests.proofs.test_passport import Models, outcomes
from workers.lm.prefilling import parts_of
from workers.lm.proofs.passport import prove
from workers.lm.proofs.paths import LIMIT, TWIN_PROMPTS, largest_difference
from workers.lm.proofs.rows import random_rows
from workers.lm.proofs.shared_prefix import related_rows
from workers.lm.proofs.twin import small_twin
from workers.lm.sharing import PathCache
from workers.lm.slots import SlotCache
from workers.lm.structure.twin import kinds_of, layers_needed


@pytest.mark.parametrize("pass_cost", [None, 8192], ids=["as here", "as on a GPU"])
def test_prefixes_that_lose_their_keys_are_refused(
    tiny_lm: Models, monkeypatch: pytest.MonkeyPatch, pass_cost: int | None
) -> None:
    """A model that reads otherwise after a shared prefix than alone would spoil rows and likelihoods, and nothing else."""

    def shifted(self: PathCache, _layer_idx: int = 0) -> int:
        return max(0, self._length - 1)

    monkeypatch.setattr(PathCache, "get_query_offset", shifted)
    assert outcomes(prove(replace(tiny_lm("llama"), pass_cost=pass_cost))) == {"paths agree": "refused"}


def test_beginnings_that_lose_their_keys_in_generation_are_refused(tiny_lm: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above for the slots of a batch: a pass that starts after a beginning must attend to it."""
    right = SlotCache.prefilling

    def without(self: SlotCache, *given: Any) -> None:
        right(self, *given)
        if self._start:
            for store in (store for pair in self._stores for store in pair):
                store[:, :, : self._start] *= 0.5

    monkeypatch.setattr(SlotCache, "prefilling", without)
    assert outcomes(prove(tiny_lm("llama"))) == {"paths agree": "refused"}


def test_rows_of_the_library_s_cache_may_begin_alike() -> None:
    """That engine shares nothing, so all its rows are whole in one pass, whatever tokens they have."""
    lm = tiny_family("lfm2")
    first, other = random_rows(lm, [12, 12], seed=3)
    assert lm.layout.structure.engine == "library"
    assert largest_difference(lm, [first, [first[0], *other[1:]]], 4) < LIMIT


def test_the_twin_has_the_layers_that_share_weights() -> None:
    """The first hybrid layer of a Zamba shares its weights with later ones, so the library builds no model with the first alone."""
    lm = tiny_family("zamba")
    twin = small_twin(lm)
    assert twin.layout.n_layers > layers_needed(kinds_of([sites["residual"] for sites in lm.layout.sites], lm.text_config))
    assert largest_difference(twin, random_rows(twin, [9, 9, 9], seed=3), 4) < LIMIT


def test_the_rows_of_the_proof_are_padded_and_share_beginnings_of_beginnings(tiny_lm: Models) -> None:
    """As in default generation, and where passes cost nothing."""
    twin = small_twin(tiny_lm("llama"))
    rows = random_rows(twin, TWIN_PROMPTS, seed=3)
    padded = parts_of(twin, [row[:-1] for row in rows])
    assert any(len({len(segment) for segment in part}) > 1 for part in padded)
    assert min(map(len, rows)) == 1, "one row has no prefix"
    shared = parts_of(replace(twin, pass_cost=0), [row[:-1] for row in related_rows(rows)])
    assert {len(part[0].rows) for part in shared if part[0].start} >= {1, 7}, "a beginning after a beginning"
