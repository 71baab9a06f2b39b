"""A fitted reference judge is kept in a cell under a hash of everything that it is fitted from: an equal job, or the same one after a kill,
takes it instead of fitting it again. Nobody learns by it of a job that they may not read (`JobContext.shared_cell`). What a fit has
finished before it ends is kept by `preparing`."""

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
"""How the names of such cells begin."""
LAYOUT = 2
"""Of what is kept. Judges of another layout are not taken."""


def fitted(
    fit: Callable[[str], ReferenceJudge], lm: LanguageModel, asked: Sequence[Json], context: JobContext, *, batch_rows: int
) -> ReferenceJudge:
    """The judge that `fit(key)` makes, or that was kept of equal arguments `asked`. That of a model whose reading is not proved is no other
    job's."""
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
    """The sha256 over what a fit depends on: the model's content and how texts are read, the type, device and threads that it computes with,
    the libraries, the judge's version, and the arguments."""
    model = {
        "weights": lm.facts.weight_hash, "reading": lm.facts.reading_hash, "special_tokens": lm.special_tokens, "dtype": str(lm.dtype),
        "device": lm.device.type, "threads": torch.get_num_threads(),
        "libraries": [version(name) for name in ("torch", "transformers", "scikit-learn")], "judge": [VERSION, LAYOUT],
    }  # fmt: skip
    return hashlib.sha256(json.dumps([model, *asked], sort_keys=True, separators=(",", ":")).encode()).hexdigest()
