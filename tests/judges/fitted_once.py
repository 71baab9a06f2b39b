"""Jobs that would fit the same reference judge share one: the first fit is real, and what it depends on is the key of the others.

A judge remembers texts that it has read, and nothing depends on what it has read before (tests/judges/test_coherence.py); what fits of the same
responses have in common is tried in tests/judges/test_reference.py. A test that needs a fit of its own undoes this (`afresh`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from transformers import PreTrainedModel

from workers.judges.material import Material
from workers.judges.reference import ReferenceJudge
from workers.lm.model import LanguageModel

_FIT = ReferenceJudge.fit
_MADE: dict[tuple[PreTrainedModel, str, str], ReferenceJudge] = {}


@contextmanager
def fitted_once() -> Iterator[None]:
    """Within the block, `ReferenceJudge.fit` gives the judge that it made of equal arguments for the same model before, in any module."""

    def fit(lm: LanguageModel, material: Material, *, preparing: Any = None, **options: Any) -> ReferenceJudge:
        # a job's LanguageModel is a copy with the special tokens that its spec asks for
        key = lm.model, lm.special_tokens, json.dumps([material.to_list(), options], sort_keys=True)
        if key not in _MADE:
            _MADE[key] = _FIT(lm, material, preparing=preparing, **options)
        return _MADE[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceJudge, "fit", fit)
        yield


@contextmanager
def afresh() -> Iterator[None]:
    """Within the block every fit is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceJudge, "fit", _FIT)
        yield
