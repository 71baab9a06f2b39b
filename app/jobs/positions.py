"""Positions in the queue: how many jobs start before a job, as owners take turns and each owner's jobs run by priority and age.

Loaded models may still reorder a few jobs. The statement counts each owner's jobs and numbers the jobs of some owners; the turns are counted
here, which is cheaper than in SQL.
"""

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from app.jobs.models import CLAIMABLE
from app.jobs.turns import SCORE, SHORT

_READY = f"{CLAIMABLE} AND j.job_class = :job_class"
COUNTS = f"""counts AS MATERIALIZED (
    SELECT w.owner, w.short, w.jobs, {SCORE} AS score FROM (
        SELECT j.owner, j.short, count(*) AS jobs FROM jobs j WHERE {_READY} GROUP BY j.short, j.owner
    ) AS w JOIN owner_turns t ON t.owner = w.owner AND t.lane = CASE WHEN w.short THEN '{SHORT}' ELSE :job_class END
)"""
"""SQL, a part of WITH: the number of ready jobs of each owner in both lanes of `:job_class`; `:slice` in seconds."""
TURNS = "SELECT json_agg(json_build_array(short, owner, jobs) ORDER BY score, owner) FROM counts"
"""SQL: lane, owner and number of jobs for each row of `COUNTS`, in the order of turns."""
# Each owner's queue is read in the order of its index and numbered as an array: sorting all queues took more than half of the time. The ids are
# joined: compared with a parameter by ANY, in a prepared plan each job was compared with each id, for each owner (0.3 s for 200 of 3,000 jobs).
RANKS = f"""
SELECT json_object_agg(id, own) FROM (
    SELECT q.id, q.rank - 1 AS own FROM counts c CROSS JOIN LATERAL unnest(ARRAY(
        SELECT j.id FROM jobs j WHERE {_READY} AND j.short = c.short AND j.owner = c.owner ORDER BY j.priority DESC, j.id
    )) WITH ORDINALITY AS q(id, rank) JOIN unnest(CAST(:ids AS text[])) AS wanted(id) ON wanted.id = q.id
    WHERE c.owner = ANY(:owners)
) AS ranked"""
"""SQL: for the jobs `:ids` of `:owners`, how many ready jobs of the same owner and lane start before each."""
# An owner's jobs behind the first `:most` cannot be among the first `:most` to start: they are not read.
NEXT = f"""
WITH turns AS MATERIALIZED (
    SELECT t.owner, t.lane, t.lane = '{SHORT}' AS short, CASE t.lane WHEN '{SHORT}' THEN 'model' ELSE t.lane END AS job_class,
        row_number() OVER (ORDER BY {SCORE}, t.owner) AS turn FROM owner_turns t
)
SELECT id, own, place - own AS others, generations, place + generations AS ahead FROM (
    SELECT q.id, q.own, row_number() OVER (PARTITION BY t.lane ORDER BY q.own, t.turn) - 1 AS place,
        CASE t.lane WHEN 'model' THEN (
            SELECT count(*) FROM jobs g WHERE {CLAIMABLE} AND g.job_class = 'model' AND g.short
        ) ELSE 0 END AS generations
    FROM turns t CROSS JOIN LATERAL (
        SELECT j.id, row_number() OVER (ORDER BY j.priority DESC, j.id) - 1 AS own FROM jobs j
        WHERE {CLAIMABLE} AND j.job_class = t.job_class AND j.short = t.short AND j.owner = t.owner
        ORDER BY j.priority DESC, j.id LIMIT :most
    ) AS q
) AS placed ORDER BY ahead, id"""
"""SQL: the first `:most` jobs of each owner in each lane with the numbers of `JobsAhead` and their sum, the next one first; `:slice` in
seconds."""


class Placed(Protocol):
    """The columns of a job that its position depends on."""

    id: str
    owner: str
    short: bool


class JobsAhead(NamedTuple):
    """Numbers of jobs ahead of a job: its owner's earlier jobs, other owners' jobs, generations."""

    own: int
    others: int
    generations: int

    @property
    def position(self) -> int:
        """Returns the position in the queue; 1 is next."""
        return 1 + self.own + self.others + self.generations


class Lane:
    """The owners with ready jobs in a lane, in the order of their turns. `jobs`: the number of ready jobs of each."""

    def __init__(self, jobs: Mapping[str, int]) -> None:
        self._turns = {owner: turn for turn, owner in enumerate(jobs)}
        self._jobs = list(jobs.values())
        self._sorted = sorted(self._jobs)
        self._sums = list(accumulate(self._sorted, initial=0))
        self.total = self._sums[-1]

    def others(self, owner: str, own: int) -> int:
        """Returns how many jobs of other owners start before the job of `owner` that has `own` earlier jobs of the same owner.

        These are as many jobs of every other owner, if there are so many, and one more for each owner with an earlier turn.
        """
        fewer = bisect(self._sorted, own)
        each = self._sums[fewer] + own * (len(self._jobs) - fewer)
        return each - own + sum(map(own.__lt__, self._jobs[: self._turns[owner]]))


def ahead(jobs: Iterable[Placed], turns: Sequence[tuple[bool, str, int]], ranks: Mapping[str, int]) -> dict[str, JobsAhead]:
    """Returns the jobs ahead of each job that has a rank. `turns`, `ranks`: the results of `TURNS` and `RANKS`."""
    lanes = {lane: Lane({owner: count for short, owner, count in turns if short == lane}) for lane in (False, True)}
    generations = {False: lanes[True].total, True: 0}
    return {
        job.id: JobsAhead(own, lanes[job.short].others(job.owner, own), generations[job.short])
        for job in jobs
        if (own := ranks.get(job.id)) is not None
    }
