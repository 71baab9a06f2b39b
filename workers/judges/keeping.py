"""Stores a fitted reference judge under a hash of all inputs of the fit, so that equal jobs reuse the judge instead of fitting it again.

The judge is a cell of the job that fitted it. The same job finds it after a kill; another job takes it only from jobs that its owner may see
(`JobContext.shared_cell`). Partial results of an unfinished fit are stored by `preparing`.
"""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version

import torch

from workers.job import SHARED, JobContext
from workers.judges.material import Inputs
from workers.judges.reference import VERSION, ReferenceJudge
from workers.lm.model import LanguageModel

LAYOUT = 3
"""Version of what is stored and how its held-out accuracy is measured. Judges stored under another version are not reused."""


def fitted(
    fit: Callable[[str], ReferenceJudge],
    lm: LanguageModel,
    inputs: Inputs,
    context: JobContext,
    *,
    batch_rows: int,
    room: int,
) -> ReferenceJudge:
    """Returns the stored judge of an equal fit, or fits a new judge with `fit(key)` and stores it.

    `inputs` are the fit's inputs besides the model (`Material.to_list`); `batch_rows` is the judge's largest batch; `room` is the most bytes for
    the prompts that its `Reader` keeps. A model that is not proved has no `reading_hash`; its judge is neither stored nor taken from other jobs.
    """
    key = key_of(lm, inputs)
    if lm.facts.reading_hash is None:
        return fit(key)
    name = SHARED + key
    stored = context.shared_cell(name)
    if stored is not None:
        return ReferenceJudge.from_json(json.loads(stored), lm, batch_rows=batch_rows, room=room)
    judge = fit(key)
    context.commit_cell(name, json.dumps(judge.to_json(), separators=(",", ":")).encode())
    return judge


def key_of(lm: LanguageModel, inputs: Inputs) -> str:
    """Returns the SHA-256 over all inputs of a fit: the model's weights and how it reads texts, the dtype, device and threads, the versions of
    libraries and judge, and `inputs`."""
    model = {
        "weights": lm.facts.weight_hash, "reading": lm.facts.reading_hash, "special_tokens": lm.special_tokens, "dtype": str(lm.dtype),
        "device": lm.device.type, "threads": torch.get_num_threads(),
        "libraries": [version(name) for name in ("torch", "transformers", "scikit-learn")], "judge": [VERSION, LAYOUT],
    }  # fmt: skip
    return hashlib.sha256(json.dumps([model, *inputs], sort_keys=True, separators=(",", ":")).encode()).hexdigest()
