"""Keeps models loaded between jobs. The least recently used model is unloaded when another needs the room; idle models are unloaded after a
while.

Counts bytes of weights against a budget; memory for activations and key-value caches is counted in `memory`. Used by one thread.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from workers.lm.capture import hooks_left
from workers.lm.errors import ModelFault
from workers.lm.folder import files_changed
from workers.lm.memory import free_memory
from workers.lm.model import LanguageModel


@dataclass(frozen=True)
class ModelKey:
    """The identity of a loaded model: source, weights and dtype."""

    path: str
    weight_hash: str
    dtype: str


@dataclass(frozen=True)
class Resident:
    """A loaded model, as shown on status pages."""

    key: ModelKey
    bytes: int
    idle_seconds: float


@dataclass
class _Held:
    lm: LanguageModel
    bytes: int
    used_at: float


class ModelCache:
    """At most `budget_bytes` of weights on the device; `clock` gives seconds and is never set back."""

    def __init__(self, budget_bytes: int, *, clock: Callable[[], float] = monotonic) -> None:
        self.budget_bytes = budget_bytes
        self._clock = clock
        self._held: OrderedDict[ModelKey, _Held] = OrderedDict()

    def get(self, key: ModelKey, loader: Callable[[], LanguageModel], *, expected_bytes: int) -> LanguageModel:
        """Returns the loaded model of `key`; otherwise unloads others until `expected_bytes` fit and returns what `loader` makes.

        A loaded model with changed files is dropped and loaded again; `loader` must be given the expected facts, so that it refuses other
        weights. Raises ModelFault model_too_large, hooks_left (and drops that model), weights_changed, and what `loader` raises.
        """
        held = self._held.get(key)
        if held is not None and files_changed(key.path, held.lm.facts.files):
            held = None  # before `drop`, which frees only what nothing refers to
            self.drop(key)
        if held is not None:
            fault = hooks_left(held.lm.model)
            if fault is not None:
                held = None
                self.drop(key)
                raise fault
            held.used_at = self._clock()
            self._held.move_to_end(key)
            return held.lm
        self._make_room(expected_bytes)
        lm = loader()
        if lm.facts.weight_hash != key.weight_hash:
            raise ModelFault(
                "weights_changed",
                f"The weights in {key.path} are {lm.facts.weight_hash[:12]}, but this job was planned for {key.weight_hash[:12]}. "
                "Inspect the model again and submit the job again.",
            )
        self._make_room(lm.resident_bytes)
        self._held[key] = _Held(lm, lm.resident_bytes, self._clock())
        return lm

    def used(self, key: ModelKey) -> None:
        """Restarts the model's idle time, after a job that used it."""
        if key in self._held:
            self._held[key].used_at = self._clock()

    def drop(self, key: ModelKey) -> None:
        """Unloads one model, if it is loaded."""
        if self._held.pop(key, None) is not None:
            free_memory()

    def unload_idle(self, idle_seconds: float) -> list[ModelKey]:
        """Unloads the models not used in the last `idle_seconds` and returns their keys."""
        before = self._clock() - idle_seconds
        idle = [key for key, held in self._held.items() if held.used_at <= before]
        for key in idle:
            self.drop(key)
        return idle

    def residents(self) -> list[Resident]:
        """The loaded models, least recently used first."""
        now = self._clock()
        return [Resident(key, held.bytes, now - held.used_at) for key, held in self._held.items()]

    @property
    def resident_bytes(self) -> int:
        """The bytes of the weights of all loaded models."""
        return sum(held.bytes for held in self._held.values())

    def _make_room(self, needed: int) -> None:
        if needed > self.budget_bytes:
            raise ModelFault(
                "model_too_large",
                f"The model's weights take {needed / 2**20:,.0f} MiB; this worker may hold {self.budget_bytes / 2**20:,.0f} MiB. "
                "Use a smaller model or dtype, or raise the worker's model budget.",
            )
        while self._held and self.resident_bytes + needed > self.budget_bytes:
            self.drop(next(iter(self._held)))
