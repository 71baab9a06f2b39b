"""The quota of running jobs: a claim skips users who have reached it, until one of their jobs ends. `*` is the limit of all users."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.jobs import endings
from tests.db.test_lanes import Lanes, lanes  # noqa: F401 - the fixture


@pytest.mark.parametrize("owner", ["ann", "*"])
def test_a_claim_skips_a_user_at_the_limit_and_serves_the_next(lanes: Lanes, owner: str) -> None:  # noqa: F811
    lanes.limit(owner, 2)
    for _ in range(4):
        lanes.submit("ann")
    first, second = lanes.take("w1"), lanes.take("w2")
    assert first is not None
    assert second is not None
    assert lanes.take("w3") is None
    lanes.submit("bob")
    other = lanes.take("w3")
    assert other is not None
    assert other.job.owner == "bob"
    lanes.do(endings.succeed, first.job.id, first.token, {}, [], metrics={})
    again = lanes.take("w1")
    assert again is not None
    assert again.job.owner == "ann"


def test_a_users_own_limit_goes_before_everybodys(lanes: Lanes) -> None:  # noqa: F811
    lanes.limit("*", 1)
    lanes.limit("ann", 3)
    for owner in ("ann", "bob"):
        for _ in range(4):
            lanes.submit(owner)
    taken = [lanes.take(f"w{i}") for i in range(8)]
    assert sorted(lease.job.owner for lease in taken if lease) == ["ann", "ann", "ann", "bob"]


def test_light_jobs_need_no_device_and_are_not_limited(lanes: Lanes) -> None:  # noqa: F811
    lanes.limit("ann", 1)
    for _ in range(3):
        lanes.submit("ann", job_class="light")
    lanes.submit("ann")
    assert lanes.take() is not None
    assert [lanes.claim(f"l{i}", job_class="light") is not None for i in range(3)] == [True] * 3


def test_claimers_that_race_in_both_lanes_never_exceed_the_limit(lanes: Lanes) -> None:  # noqa: F811
    """Generations and other jobs have turns of their own, but are counted together; a stale count would let one too many pass."""
    for i in range(6):
        lanes.limit(f"user{i}", 1)
        for _ in range(3):
            lanes.submit(f"user{i}")
            lanes.generate(f"user{i}")
    for _ in range(3):
        with ThreadPoolExecutor(12) as pool:
            taken = list(pool.map(lambda i: lanes.take(f"w{i}", short_first=i % 2 == 0), range(12)))
        held = [lease for lease in taken if lease is not None]
        assert sorted(lease.job.owner for lease in held) == [f"user{i}" for i in range(6)]
        for lease in held:
            lanes.do(endings.succeed, lease.job.id, lease.token, {}, [], metrics={})
