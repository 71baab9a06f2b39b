"""A `JobContext` without a service: one loaded model, cells in a dict, and every call recorded. It can stop a job.

`stop` is called at each progress report with the number of reports so far and may raise; cells survive in `cells`, so that a second context
with the same dict is a resumed job.
"""

from collections.abc import Callable, Mapping
from typing import Any

from workers.lm.model import LanguageModel


class FakeContext:
    """Gives `lm` for every name."""

    def __init__(
        self,
        lm: LanguageModel,
        *,
        cells: dict[str, bytes] | None = None,
        batch_budget_bytes: int = 1 << 30,
        stop: Callable[[int], None] = lambda _reports: None,
        facts: Mapping[str, Any] | None = None,
        blobs: Mapping[str, bytes] | None = None,
        artifacts: Mapping[tuple[str, str], bytes] | None = None,
        results: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.lm = lm
        self.cells = {} if cells is None else cells
        self.batch_budget_bytes = batch_budget_bytes
        self.stop = stop
        self.facts = lm.facts.to_dict() if facts is None else facts
        self.blobs = blobs or {}
        self.artifacts = artifacts or {}
        self.results = results or {}
        self.passports: dict[str, Mapping[str, Any]] = {}
        self.phases: list[tuple[str, int, str]] = []
        self.after: dict[str, float | None] = {}
        self.reports: list[tuple[str, int]] = []
        self.committed: list[str] = []
        self.yield_points = 0

    @property
    def device(self) -> str:
        return str(self.lm.device)

    @property
    def dtype(self) -> str:
        return str(self.lm.dtype).removeprefix("torch.")

    def passport(self, key: str) -> Mapping[str, Any] | None:
        return self.passports.get(key)

    def model(self, name: str) -> LanguageModel:
        return self.lm

    def model_facts(self, name: str) -> Mapping[str, Any]:
        return self.facts

    def blob(self, digest: str) -> bytes:
        return self.blobs[digest]

    def artifact(self, job: str, name: str) -> bytes:
        return self.artifacts[job, name]

    def result(self, job: str) -> Mapping[str, Any]:
        return self.results[job]

    def phase(
        self,
        name: str,
        total: int,
        unit: str,
        *,
        stall_seconds: float | None = None,
        share: float | None = None,
        after: float | None = None,
    ) -> None:
        self.phases.append((name, total, unit))
        self.after[name] = after

    def progress(self, done: int) -> None:
        self.reports.append((self.phases[-1][0], done))
        self.check()

    def check(self) -> None:
        self.stop(len(self.reports))

    def may_yield(self) -> None:
        self.yield_points += 1

    def cell(self, name: str) -> bytes | None:
        return self.cells.get(name)

    def shared_cell(self, name: str) -> bytes | None:
        return self.cells.get(name)

    def commit_cell(self, name: str, data: bytes) -> None:
        self.cells[name] = data
        self.committed.append(name)
