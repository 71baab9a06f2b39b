"""A job computes with the number of threads with which it began, also when a worker of another number continues it: sums in float32 depend on
it, and a judge that was fitted with another number is not taken."""

from pathlib import Path

from shipped import model_folder
from tests.worker.conftest import Service
from tests.worker.looking import register


def test_a_job_is_continued_and_retried_with_the_threads_with_which_it_began(live: Service, tmp_path: Path) -> None:
    register(live, model_folder("demo-plain"))
    first = live.node("model-0", BINNACLE_THREADS="2")
    fails_once = {"at": 1, "do": "fault", "count_in": str(tmp_path / "calls"), "times": 1}
    failed = live.submit(job_class="model", takes="big", steps=2, **fails_once)
    assert live.ended(failed).state == "failed"
    gate = tmp_path / "gate"
    drained = live.submit(job_class="model", takes="big", steps=2, at=1, gate=str(gate))
    live.until(lambda: "cell" in live.event_types(drained), "a finished part")
    first.stop()
    gate.touch()

    live.node("model-0", BINNACLE_THREADS="1")
    continued, retried, fresh = (
        live.ended(job).result for job in (drained, live.retry(failed), live.submit(job_class="model", takes="big"))
    )
    assert continued == {"text": "done", "kept": [0], "threads": 2}
    assert retried == {"text": "done", "kept": [0], "threads": 2}
    assert fresh["threads"] == 1, "the next job has the worker's own number again"
