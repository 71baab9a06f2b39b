"""The fixture `world`: shipped models with their extraction responses (see world.py). Torch is imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.ml.conftest import _loaded, tiny_folder, tiny_lm  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from tests.judges.world import World
    from workers.lm.model import LanguageModel


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """world(trait, model, step) -> that trait on that model, and a judge fitted on its responses; made once per session."""
    from shipped import model_folder
    from tests.judges.world import NEW_TOKENS, World, dataset
    from workers.judges.elicited import elicit
    from workers.judges.material import labelled_rows
    from workers.lm.loading import load

    @cache
    def lm_of(model: str) -> LanguageModel:
        return load(model_folder(model))

    @cache
    def make(trait: str, model: str, step: int) -> World:
        lm, content = lm_of(model), dataset(trait, step)
        return World(lm, content, elicit(lm, labelled_rows(content), max_new_tokens=NEW_TOKENS, batch_rows=96))

    # the cache tells positional from keyword arguments, so `make` is always called the same way
    return lambda trait, model="demo-severe", step=1: make(trait, model, step)
