"""The smallest job that loads a model: a generation of one prompt and two tokens."""

from collections.abc import Callable
from pathlib import Path

from app.jobs import service
from app.jobs.submission import Submission
from app.models.models import Model
from tests.worker.conftest import Service
from workers.lm.inspection import inspect_folder


def register(live: Service, folder: Path, name: str = "big") -> Callable[[], str]:
    """Registers the model of the folder; returns a function that submits a generation with it and returns the id of the job."""
    facts = inspect_folder(folder, lambda _done, _total: None).to_dict()
    with live.sessions.begin() as session:
        session.add(Model(name=name, source=str(folder), state="ready", facts=facts, created_by="root"))
    spec = {
        "kind": "generate", "model": name, "weight_hash": facts["weight_hash"], "vectors": [], "doses": None, "coefficients": None,
        "prompts": [{"prompt": "hello", "system_prompt": None}], "operation": "add", "scope": "response", "max_new_tokens": 2,
        "sampling": None, "calibration": None,
    }  # fmt: skip

    def look() -> str:
        request = Submission(kind="generate", spec=spec, owner="ann", job_class="model", model=name)
        with live.sessions.begin() as session:
            return service.submit(session, request).job.id

    return look
