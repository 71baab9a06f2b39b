"""Only one process takes a chore; it is due again only when its period has passed."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from app import chores
from tests.db.conftest import Desk


def test_one_of_many_takes_a_chore_until_its_period_has_passed(desk: Desk) -> None:
    def take(_n: int, name: str = "tidy") -> bool:
        return bool(desk.do(chores.taken, name, every_seconds=3600))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1
    assert not take(0)
    assert take(0, "adopt")
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE chores SET begun_at = now() - interval '1 hour' WHERE name = 'tidy'"))
    assert take(0)
    assert not take(0)
