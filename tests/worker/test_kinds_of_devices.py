"""What a worker computes in one dtype is never mixed with what another computes in a second dtype: each keeps its own finished parts."""

from collections.abc import Callable

from sqlalchemy import delete

from app.jobs import service
from app.jobs.models import JobCell, JobEvent
from app.jobs.submission import Asker
from shipped import model_folder
from tests.worker.conftest import ADMIN, Service
from tests.worker.looking import register
from tests.worker.test_messages import Child, make_child  # noqa: F401 - the fixture
from workers import runner
from workers.job import HOW_COMPUTED, JobContext, JobFault


def cells(live: Service, job: str) -> list[str]:
    """The names of the job's finished parts, in order."""
    return [event.data["cell"] for event in live.events(job) if event.type == "cell" and event.data["cell"] not in HOW_COMPUTED]


def test_a_worker_of_another_dtype_computes_its_own_parts_and_the_first_finds_its_own_again(live: Service) -> None:
    register(live, model_folder("demo-plain"))
    narrow = live.node("model-0", BINNACLE_DTYPE="bfloat16")
    gate = live.folder / "gate"
    job = live.submit(job_class="model", takes="big", steps=2, at=1, gate=str(gate))
    live.until(lambda: "step/0" in cells(live, job), "a part in bfloat16")
    narrow.stop()
    narrow_cells = cells(live, job)

    wide = live.node("model-0", BINNACLE_DTYPE="float32")
    live.until(lambda: "cpu float32/step/0" in cells(live, job), "the same part in float32")
    wide.stop()
    told = [event.data for event in live.events(job) if event.type == "computed_apart"]
    assert told == [{"finished_parts": "cpu bfloat16", "this_worker": "cpu float32"}]

    gate.touch()
    live.node("model-0", BINNACLE_DTYPE="bfloat16")
    kept = live.ended(job).result["kept"]
    assert [f"step/{step}" for step in kept] == narrow_cells


class Chain:
    """Jobs, each of which retries the one before. Each finishes one part, named by its number and holding its dtype, and fails."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.jobs: list[str] = []
        self.seen: list[bytes | None] = []

    def add(self, dtype: str) -> list[bytes | None]:
        """Runs the next job in this dtype. Returns the parts of all earlier ones as it finds them."""
        self.child.process.settings = self.child.process.settings.model_copy(update={"dtype": dtype})
        self.child.do = lambda context: self._run(context, dtype)
        if self.jobs:
            with self.child.sessions.begin() as session:
                job = service.retry(session, Asker(ADMIN, self.child.process.settings), self.jobs[-1]).job.id
            assert runner.run_next(self.child.process)
        else:
            job = self.child.job("probe")
        self.jobs.append(job)
        return self.seen

    def _run(self, context: JobContext, dtype: str) -> None:
        self.seen = [context.cell(f"part/{number}") for number in range(len(self.jobs))]
        context.commit_cell(f"part/{len(self.jobs)}", dtype.encode())
        raise JobFault("broken", "It broke.")

    def remove_results(self, job: str) -> None:
        """Removes the finished parts of a job, as retention does."""
        with self.child.sessions.begin() as session:
            session.execute(delete(JobCell).where(JobCell.job_id == job))

    def told(self) -> int:
        """How often a history says that a worker computed apart."""
        with self.child.sessions() as session:
            return session.query(JobEvent).where(JobEvent.type == "computed_apart").count()


def test_a_retry_of_a_retry_knows_how_its_parts_were_computed_when_the_first_job_is_gone(
    make_child: Callable[..., Child],  # noqa: F811
) -> None:
    chain = Chain(make_child())
    chain.add("bfloat16")
    assert chain.add("bfloat16") == [b"bfloat16"]
    chain.remove_results(chain.jobs[0])
    assert chain.add("float32") == [None, None]
    assert chain.told() == 1
    assert chain.add("bfloat16") == [None, b"bfloat16", None], "its own parts, as far as they are still there"


def test_a_worker_that_computed_apart_finds_its_parts_when_the_first_job_is_gone(make_child: Callable[..., Child]) -> None:  # noqa: F811
    chain = Chain(make_child())
    chain.add("bfloat16")
    assert chain.add("float32") == [None]
    chain.remove_results(chain.jobs[0])
    assert chain.add("float32") == [None, b"float32"]
    assert chain.told() == 1, "once, not at every attempt"
