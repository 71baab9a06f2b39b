"""Waits for a judge's scores and hears meanwhile whether the job must stop.

A judge may need many minutes for the answers of one run: an endpoint with a limit of requests per minute, or a large model on a CPU. The job
counts as alive while the judge's counts grow; a judge that hangs is found by its job's stall limit.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from workers.job import JobContext
from workers.judges.base import Judge, JudgeItem, Score

LOOK_SECONDS = 1.0


class Judging:
    """Scores with one judge on a thread of its own, call after call."""

    def __init__(self, judge: Judge, context: JobContext) -> None:
        self._judge, self._context = judge, context
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")

    def __enter__(self) -> "Judging":
        return self

    def __exit__(self, *_: object) -> None:
        """Waits only for a judge that uses the device, which the next job needs; requests of the others end when the judge is closed."""
        self._thread.shutdown(wait=self._judge.uses_device, cancel_futures=True)

    def submit(self, items: Sequence[JudgeItem]) -> Future[list[Score]]:
        """Starts to score the items, after those submitted before."""
        return self._thread.submit(self._judge.score, items)

    def result(self, scores: Future[list[Score]], done: int) -> list[Score]:
        """Returns the scores when they are there; `done` is the progress of the phase so far.

        Raises what the judge raises, and what the context raises when the job must stop.
        """
        seen = self._judge.tally
        while not scores.done():
            self._context.check()
            wait([scores], timeout=LOOK_SECONDS)
            counted = self._judge.tally
            if counted != seen:
                self._context.progress(done)
            seen = counted
        return scores.result()

    def score(self, items: Sequence[JudgeItem], done: int) -> list[Score]:
        """Scores the items and waits for their scores."""
        return self.result(self.submit(items), done)
