"""The models that a child keeps loaded between jobs, by their registered names. Only models on the allow-list can be loaded."""

import threading
import time
from dataclasses import replace

import structlog
import torch
from sqlalchemy.orm import Session, sessionmaker

from app.db import reading
from app.models import repository
from app.models.models import Model
from app.settings import Settings
from app.storage.space import hub_cache
from terms.documents.model import SourcedFacts
from terms.documents.passport import PassportDocument
from workers.job import JobFault, TransientFault
from workers.lm.cache import ModelCache, ModelKey
from workers.lm.capture import hooks_left
from workers.lm.errors import ModelFault
from workers.lm.facts import facts_from_dict
from workers.lm.hub import fetched_folder
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.proofs.content import programs

log = structlog.get_logger(__name__)


class Shelf:
    """The loaded models of one child process. `take` loads or finds a model; the keeper's thread unloads idle ones. `threads` is the number of
    threads with which jobs begin on this worker."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        if settings.threads and settings.device == "cpu":
            torch.set_num_threads(settings.threads)
        self.threads = torch.get_num_threads()
        self._settings = settings
        self._reads = reading(sessions)
        self._cache = ModelCache(settings.model_budget_bytes)
        self._names: dict[ModelKey, str] = {}
        self._loaded: list[str] = []
        self._bytes = 0
        self._taken: dict[ModelKey, LanguageModel] = {}
        self._lock = threading.RLock()
        self.slowest_load = 0.0

    def names(self) -> list[str]:
        """Names of the loaded models; may be read from any thread."""
        return list(self._loaded)

    def facts(self, name: str, *, unproven: bool = False) -> SourcedFacts:
        """The model's facts from inspection, with its `source` and `revision`. `unproven`: also for a model that is not usable yet.

        `reading_hash` is present where the model was proved with this process's library versions, because other versions may read texts
        otherwise. Raises JobFault when the model is missing or faulty, TransientFault while it is inspected or proved.
        """
        with self._reads() as session:
            model = session.get(Model, name)
            passport = None if model is None or model.passport is None else repository.passport(session, model.passport)
        if model is None:
            raise JobFault(
                "unknown_model", f"The model {name} is no longer on the list of models. Ask an administrator to add it again."
            )
        if model.state == "inspecting" and not unproven:  # the model was inspected again after the job became ready
            raise TransientFault(f"the model {name} is being {'proved' if model.proving else 'inspected'}")
        if model.state == "faulty" and not unproven:
            raise JobFault("model_not_ready", f"The model {name} is faulty. {model.fault['detail'] if model.fault else ''}")
        facts: SourcedFacts = {**model.facts, "source": model.source, "revision": model.revision}
        if passport is None or passport.content["programs"] != programs():
            facts["reading_hash"] = facts["proofs_version"] = None
        return facts

    def passport(self, name: str, weight_hash: str) -> PassportDocument | None:
        """The outcome of the model's proofs, and each proof; None for a model that is missing, not proved or has other weights."""
        with self._reads() as session:
            model = session.get(Model, name)
            stored = None if model is None or model.passport is None else repository.passport(session, model.passport)
            return stored.passport if stored is not None and stored.content["weight_hash"] == weight_hash else None

    def take(self, name: str, *, unproven: bool = False) -> LanguageModel:
        """Loads or finds the model on this worker's device and keeps it there until `after_job`. Raises what `facts` raises, and ModelFault."""
        facts = self.facts(name, unproven=unproven)
        known = facts_from_dict(facts)
        folder = fetched_folder(facts["source"], facts["revision"], hub_cache(self._settings))
        key = ModelKey(str(folder), known.weight_hash, self._settings.weights_dtype)
        with self._lock:
            began = time.monotonic()
            lm = self._cache.get(
                key,
                lambda: load(folder, device=self._settings.device, dtype=self._settings.weights_dtype, facts=known),
                expected_bytes=known.bytes_in(self._settings.weights_dtype),
            )
            self._taken[key] = lm
            self._names[key] = name
            self._list()
        seconds = time.monotonic() - began
        self.slowest_load = max(self.slowest_load, seconds)
        log.info("model.taken", model=name, seconds=round(seconds, 3), loaded=self._loaded)
        # the model may have been loaded before it was proved
        facts_now = replace(lm.facts, reading_hash=known.reading_hash, proofs_version=known.proofs_version)
        return replace(lm, facts=facts_now, record_steps=self._settings.record_steps)

    def compute_with(self, threads: int) -> None:
        """Sets torch's number of threads until `after_job`."""
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    def after_job(self) -> None:
        """Checks that the job left no hook on its models; each model with hooks is unloaded. The next job has this worker's own number of
        threads again. Raises the first ModelFault hooks_left."""
        self.compute_with(self.threads)
        faults: list[ModelFault] = []
        with self._lock:
            taken, self._taken = self._taken, {}
            for key in list(taken):
                self._cache.used(key)  # idle time counts from the end of the job, however long the job was
                # nothing here refers to the model when it is dropped, so that it is freed
                fault = hooks_left(taken.pop(key).model)
                if fault is not None:
                    self._cache.drop(key)
                    faults.append(fault)
            self._list()
        if faults:
            raise faults[0]

    def put_away(self, idle_seconds: float) -> bool:
        """Unloads the models that no job has used for `idle_seconds`, unless a job runs with one; returns whether any was unloaded."""
        with self._lock:
            unloaded = [] if self._taken else self._cache.unload_idle(idle_seconds)
            for key in unloaded:
                log.info("model.unloaded", model=self._names[key])
            self._list()
        return bool(unloaded)

    def memory(self) -> dict[str, int]:
        """Bytes of the loaded models; on a GPU also its free and total bytes, which include other programs' use."""
        if not self._settings.device.startswith("cuda"):
            return {"models": self._bytes}
        free, total = torch.cuda.mem_get_info(self._settings.device)
        return {"models": self._bytes, "device_free": free, "device_total": total}

    def _list(self) -> None:
        residents = self._cache.residents()
        self._loaded = sorted(self._names[resident.key] for resident in residents)
        self._bytes = sum(resident.bytes for resident in residents)
