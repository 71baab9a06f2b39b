"""Saves time in tests: fits of a reference judge with equal arguments share the first judge. `afresh` undoes this within a test.

This is safe, because scores do not depend on what a judge has read before (test_coherence.py), and equal responses give equal judges
(test_reference.py). Fits for other questions share the scale of coherence, most of a fit's time: it depends on the responses alone.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from transformers import PreTrainedModel

from workers.judges import reference
from workers.judges.coherence import CoherenceScale, fit_scale
from workers.judges.material import Material
from workers.judges.preparing import Row
from workers.judges.reference import ReferenceJudge
from workers.lm.model import LanguageModel

_FIT = ReferenceJudge.fit
_MADE: dict[tuple[PreTrainedModel, str, str], ReferenceJudge] = {}
_SCALES: dict[tuple[PreTrainedModel, tuple[Row, ...], tuple[Row, ...], int], CoherenceScale] = {}


@contextmanager
def fitted_once() -> Iterator[None]:
    """Within the block, `ReferenceJudge.fit` returns the judge of an earlier fit of the same model with equal material and options, if this
    process made one; it then ignores its `preparing`, and stores nothing. So does `fit_scale` for equal responses."""

    def fit(lm: LanguageModel, material: Material, *, preparing: Any = None, **options: Any) -> ReferenceJudge:
        # a job's LanguageModel is a copy with the special tokens that its spec asks for
        key = lm.model, lm.special_tokens, json.dumps([material.to_list(), options], sort_keys=True)
        if key not in _MADE:
            _MADE[key] = _FIT(lm, material, preparing=preparing, **options)
        return _MADE[key]

    def scale(
        lm: LanguageModel, positive: Sequence[Row], negative: Sequence[Row], *, seed: int, **options: Any
    ) -> CoherenceScale:
        key = lm.model, tuple(positive), tuple(negative), seed
        if key not in _SCALES:
            _SCALES[key] = fit_scale(lm, positive, negative, seed=seed, **options)
        return _SCALES[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceJudge, "fit", fit)
        patch.setattr(reference, "fit_scale", scale)
        yield


@contextmanager
def afresh() -> Iterator[None]:
    """Within the block every fit is a real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceJudge, "fit", _FIT)
        patch.setattr(reference, "fit_scale", fit_scale)
        yield
