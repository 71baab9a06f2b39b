"""Places for expensive requests: the bounds hold, waiting requests are served in order, and a request that gives up frees its place."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import Problem
from app.places import Bounds, Places

PATIENCE = 60.0
"""Seconds after which a place that ought to be free by then is missed; a pause of the machine must not end a wait."""


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
def test_bounds_hold_whoever_comes_goes_or_gives_up(seed: int, most: int, each: int) -> None:
    chance = random.Random(seed)
    bounds = Bounds(most, each, waiting=30, patience=PATIENCE, most_bytes=100, each_bytes=60)
    now: Counter[str] = Counter()
    size: Counter[str] = Counter()
    served = 0

    async def one(places: Places, owner: str, bytes_: int) -> None:
        nonlocal served
        async with places.place(owner, bytes_):
            now[owner] += 1
            size[owner] += bytes_
            assert now.total() <= most
            assert now[owner] <= each
            assert size[owner] <= 60 or now[owner] == 1
            assert size.total() <= 100 or now.total() == 1
            try:
                await asyncio.sleep(chance.random() / 500)
            finally:
                now[owner] -= 1
                size[owner] -= bytes_
            served += 1

    async def crowd() -> int:
        places = Places("tests", bounds)
        tasks = [asyncio.create_task(one(places, chance.choice("abc"), chance.choice((1, 30, 200)))) for _ in range(30)]
        for task in tasks:
            if chance.random() < 0.3:
                asyncio.get_running_loop().call_later(chance.random() / 100, task.cancel)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for found in done:
            assert found is None or isinstance(found, asyncio.CancelledError), found
        async with asyncio.timeout(PATIENCE), places.place("a", 200):
            pass  # everything was given back
        assert not places._held
        return sum(found is None for found in done)

    assert asyncio.run(crowd()) == served


def test_a_request_that_waits_too_long_or_behind_too_many_is_refused_with_the_reason() -> None:
    async def crowd() -> list[Problem]:
        places = Places("tests", Bounds(most=9, each=1, waiting=1, patience=0.1))
        refused: list[Problem] = []

        async def one() -> None:
            try:
                async with places.place("ada"):
                    pass
            except Problem as problem:
                refused.append(problem)

        async with places.place("ada"):
            await asyncio.gather(one(), one())
            async with places.place("bob"):  # whom it does not concern
                pass
        async with asyncio.timeout(PATIENCE), places.place("ada"):
            pass
        return refused

    refused = asyncio.run(crowd())
    assert [(one.status, one.code) for one in refused] == [(429, "too_many_at_once")] * 2
    assert "ada has 1 tests under way and 1 waiting; this server takes 1 of one user at once" in refused[0].detail
    assert refused[0].headers["Retry-After"] == "5"


def test_places_go_to_those_who_came_first() -> None:
    async def crowd() -> list[int]:
        places = Places("tests", Bounds(most=1, each=1, waiting=9, patience=PATIENCE))
        order: list[int] = []

        async def one(i: int) -> None:
            async with places.place(f"user{i}"):
                order.append(i)

        await asyncio.gather(*(one(i) for i in range(6)))
        return order

    assert asyncio.run(crowd()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("gives_up", [True, False])
def test_a_place_given_to_one_who_gave_up_in_that_moment_is_free_again(gives_up: bool) -> None:
    async def crowd() -> None:
        places = Places("tests", Bounds(most=1, each=1, waiting=9, patience=PATIENCE))

        async def waits() -> None:
            async with places.place("bob"):
                await asyncio.sleep(0)

        async with places.place("ada"):
            waiting = asyncio.create_task(waits())
            await asyncio.sleep(0)
        if gives_up:
            waiting.cancel()  # its turn has come, and it has not run since
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(PATIENCE), places.place("carl"):
            pass

    asyncio.run(crowd())
