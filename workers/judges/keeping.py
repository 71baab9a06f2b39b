"""Stores a fitted reference judge in a cell under a hash of all inputs of the fit, so that an equal job, or the same job after a kill, reuses
the judge instead of fitting it again. Access rights are kept: a job sees only cells that its owner may read (`JobContext.shared_cell`). Partial
results of a fit are stored by `preparing`."""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version

import torch

from terms.values import Json
from workers.job import JobContext
from workers.judges.reference import VERSION, ReferenceJudge
from workers.lm.model import LanguageModel

SHARED = "judge:"
"""The prefix of these cells' names."""
LAYOUT = 2
"""Version of the stored layout. Judges stored in another layout are not reused."""


def fitted(
    fit: Callable[[str], ReferenceJudge], lm: LanguageModel, asked: Sequence[Json], context: JobContext, *, batch_rows: int
) -> ReferenceJudge:
    """Returns the judge stored for equal arguments `asked`, or the new judge from `fit(key)`. Without a proof of how the model reads texts, the
    judge is neither stored nor shared with other jobs."""
    key = key_of(lm, asked)
    if lm.facts.reading_hash is None:
        return fit(key)
    name = SHARED + key
    stored = context.shared_cell(name)
    if stored is not None:
        return ReferenceJudge.from_json(json.loads(stored), lm, batch_rows=batch_rows)
    judge = fit(key)
    context.commit_cell(name, json.dumps(judge.to_json(), separators=(",", ":")).encode())
    return judge


def key_of(lm: LanguageModel, asked: Sequence[Json]) -> str:
    """The sha256 over all inputs of a fit: the model's content and how its texts become ids, the dtype, device and threads, the libraries, the
    judge's version, and the arguments."""
    model = {
        "weights": lm.facts.weight_hash, "reading": lm.facts.reading_hash, "special_tokens": lm.special_tokens, "dtype": str(lm.dtype),
        "device": lm.device.type, "threads": torch.get_num_threads(),
        "libraries": [version(name) for name in ("torch", "transformers", "scikit-learn")], "judge": [VERSION, LAYOUT],
    }  # fmt: skip
    return hashlib.sha256(json.dumps([model, *asked], sort_keys=True, separators=(",", ":")).encode()).hexdigest()
