"""The states of jobs and their changes, in plain Python that knows nothing of SQL: the oracle of the state machine test."""

from dataclasses import dataclass, field

HELD = ("running", "cancelling")
FINISHED = ("succeeded", "failed", "cancelled")
MAX_LOSSES = 3


@dataclass
class ModelJob:
    """One job. `needs`: for each job before it, whether it needs its `success` or only its `end`."""

    short: bool = False
    needs: dict[str, str] = field(default_factory=dict)
    state: str = "queued"
    attempt: int = 0
    losses: int = 0
    cells: set[str] = field(default_factory=set)
    token: int = 0
    blockers: int = 0
    put_off: bool = False
    first: str = ""
    """The job that this one and its siblings are retries of, or itself."""

    @property
    def ready(self) -> bool:
        return self.state == "queued" and self.blockers == 0 and not self.put_off

    def holds(self, token: int) -> bool:
        """Whether the lease of this token is the one that counts."""
        return self.state in HELD and self.token == token


class JobModel:
    """All jobs, by id."""

    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}

    def ready(self) -> set[str]:
        """Jobs that a worker may claim; only the generations among them, if there are any."""
        ready = {name for name, job in self.jobs.items() if job.ready}
        return {name for name in ready if self.jobs[name].short} or ready

    def admits(self, needs: dict[str, str]) -> bool:
        """Whether every edge can still be met."""
        return all(how == "end" or self.jobs[before].state not in ("failed", "cancelled") for before, how in needs.items())

    def renewed(self, needs: dict[str, str]) -> dict[str, str]:
        """What a retry needs: for each needed job that failed or was cancelled, its newest retry that is waiting, runs or succeeded;
        the job itself if there is none."""
        renewed: dict[str, str] = {}
        for before, how in needs.items():
            instead = before
            if how == "success" and self.jobs[before].state in ("failed", "cancelled"):
                family = [name for name, job in self.jobs.items() if job.first == self.jobs[before].first]
                hopeful = [name for name in family if self.jobs[name].state in ("queued", "running", "succeeded")]
                instead = hopeful[-1] if hopeful else before
            renewed[instead] = "success" if "success" in (how, renewed.get(instead)) else how
        return renewed

    def submitted(self, name: str, needs: dict[str, str], *, short: bool, retry_of: str | None = None) -> None:
        unmet = sum(self.jobs[before].state not in FINISHED for before in needs)
        first = name if retry_of is None else self.jobs[retry_of].first
        self.jobs[name] = ModelJob(short=short, needs=dict(needs), blockers=unmet, first=first)

    def claimed(self, name: str) -> None:
        job = self.jobs[name]
        job.state, job.attempt, job.token = "running", job.attempt + 1, job.token + 1

    def ended(self, name: str, state: str) -> None:
        """A job ends; jobs that wait for it are released or fail, and so on down the graph."""
        self.jobs[name].state = state
        for after, job in self.jobs.items():
            if name in job.needs and job.state == "queued":
                if job.needs[name] == "end" or state == "succeeded":
                    job.blockers -= 1
                else:
                    self.ended(after, "failed")

    def lost(self, name: str) -> None:
        job = self.jobs[name]
        if job.state == "cancelling":
            self.ended(name, "cancelled")
            return
        job.losses += 1
        if job.losses >= MAX_LOSSES:
            self.ended(name, "failed")
        else:
            job.state = "queued"

    def cancelled(self, name: str) -> None:
        """Someone asks for a cancel: a queued job ends, a running one is told to stop, a finished one stays as it is."""
        job = self.jobs[name]
        if job.state == "queued":
            self.ended(name, "cancelled")
        elif job.state == "running":
            job.state = "cancelling"
