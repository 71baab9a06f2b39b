"""What a worker computes in one dtype is never mixed with what another computes in a second dtype: each keeps its own finished parts."""

from shipped import model_folder
from tests.worker.conftest import Service
from tests.worker.looking import register
from workers.steering.retries import HOW_COMPUTED


def cells(live: Service, job: str) -> list[str]:
    """The names of the job's finished parts, in order."""
    return [event.data["cell"] for event in live.events(job) if event.type == "cell" and event.data["cell"] not in HOW_COMPUTED]


def test_a_worker_of_another_dtype_computes_its_own_parts_and_the_first_finds_its_own_again(live: Service) -> None:
    register(live, model_folder("demo-plain"))
    narrow = live.node("model-0", BINNACLE_DTYPE="bfloat16")
    job = live.submit(job_class="model", takes="big", steps=4, seconds=1)
    live.until(lambda: "step/0" in cells(live, job), "a part in bfloat16")
    narrow.stop()
    narrow_cells = cells(live, job)

    wide = live.node("model-0", BINNACLE_DTYPE="float32")
    live.until(lambda: "cpu float32/step/0" in cells(live, job), "the same part in float32")
    wide.stop()
    assert set(narrow_cells) < set(cells(live, job))
    told = [event.data for event in live.events(job) if event.type == "computed_apart"]
    assert told == [{"finished_parts": "cpu bfloat16", "this_worker": "cpu float32"}]

    live.node("model-0", BINNACLE_DTYPE="bfloat16")
    kept = live.ended(job).result["kept"]
    assert [f"step/{step}" for step in kept] == narrow_cells
