"""The models a child keeps loaded between jobs, by their registered names. Reads the allow-list; nothing outside it can be loaded."""

import threading
import time
from typing import Any

import structlog
import torch
from sqlalchemy.orm import Session, sessionmaker

from app.models.models import Model
from app.settings import Settings
from app.storage.space import hub_cache
from workers.handlers.base import JobFault
from workers.lm.cache import ModelCache, ModelKey
from workers.lm.capture import assert_no_hooks
from workers.lm.errors import ModelFault
from workers.lm.facts import facts_from_dict
from workers.lm.hub import fetched_folder
from workers.lm.loading import load
from workers.lm.model import LanguageModel

log = structlog.get_logger(__name__)


class Shelf:
    """One per child. `take` loads or finds a model; the keeper's thread has idle ones put away."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        if settings.threads and settings.device == "cpu":
            torch.set_num_threads(settings.threads)
        self._settings = settings
        self._sessions = sessions
        self._cache = ModelCache(settings.model_budget_bytes)
        self._names: dict[ModelKey, str] = {}
        self._loaded: list[str] = []
        self._bytes = 0
        self._taken: dict[ModelKey, LanguageModel] = {}
        self._lock = threading.RLock()
        self.slowest_load = 0.0

    def names(self) -> list[str]:
        """Names of the models loaded now; may be read from any thread."""
        return list(self._loaded)

    def facts(self, name: str) -> dict[str, Any]:
        """What inspecting the model found, with its `source` and `revision`. Raises JobFault when it is not there or faulty."""
        with self._sessions() as session:
            model = session.get(Model, name)
        if model is None:
            raise JobFault(
                "unknown_model", f"The model {name} is not on the allow-list any more; ask an administrator to add it again."
            )
        if model.state != "ready":
            why = (model.fault or {}).get("detail", "It has not been inspected yet.")
            raise JobFault("model_not_ready", f"The model {name} is {model.state}. {why}")
        return {**model.facts, "source": model.source, "revision": model.revision}

    def take(self, name: str) -> LanguageModel:
        """The model, loaded on this worker's device, until `after_job`. Raises JobFault and ModelFault."""
        facts = self.facts(name)
        source, revision = facts.pop("source"), facts.pop("revision")
        known = facts_from_dict(facts)
        folder = fetched_folder(source, revision, hub_cache(self._settings))
        key = ModelKey(str(folder), known.weight_hash, self._settings.weights_dtype)
        with self._lock:
            began = time.monotonic()
            lm = self._cache.get(
                key,
                lambda: load(folder, device=self._settings.device, dtype=self._settings.weights_dtype, facts=known),
                expected_bytes=known.bytes,
            )
            self._taken[key] = lm
            self._names[key] = name
            self._list()
        seconds = time.monotonic() - began
        self.slowest_load = max(self.slowest_load, seconds)
        log.info("model.taken", model=name, seconds=round(seconds, 3), loaded=self._loaded)
        return lm

    def after_job(self) -> None:
        """Checks that the job left no hook on the models it took; one with hooks is dropped. Raises ModelFault hooks_left."""
        with self._lock:
            taken, self._taken = self._taken, {}
            for key, lm in taken.items():
                self._cache.used(key)  # idle counts from the end of the job, however long it was
                try:
                    assert_no_hooks(lm.model)
                except ModelFault:
                    self._cache.drop(key)
                    self._list()
                    raise

    def put_away(self, idle_seconds: float) -> bool:
        """Unloads the models that no job has used for so long, unless a job runs with one; whether there were any."""
        with self._lock:
            unloaded = [] if self._taken else self._cache.unload_idle(idle_seconds)
            for key in unloaded:
                log.info("model.unloaded", model=self._names[key])
            self._list()
        return bool(unloaded)

    def memory(self) -> dict[str, int]:
        """Bytes: what the loaded models take, and on a card what is free of how much; others' use of the card shows in it."""
        if not self._settings.device.startswith("cuda"):
            return {"models": self._bytes}
        free, total = torch.cuda.mem_get_info(self._settings.device)
        return {"models": self._bytes, "device_free": free, "device_total": total}

    def _list(self) -> None:
        residents = self._cache.residents()
        self._loaded = sorted(self._names[resident.key] for resident in residents)
        self._bytes = sum(resident.bytes for resident in residents)
