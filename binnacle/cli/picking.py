"""Ids as people type them: whole, by a beginning that no other has, or `last` for the newest job of theirs."""

from collections.abc import Iterable

from binnacle.client import Client
from binnacle.errors import BinnacleError
from binnacle.served import ID

LAST = "last"
SEARCHED = 2_000
"""How many of the newest objects a beginning is looked for in."""
SHOWN = 5


def pick(client: Client, typed: str) -> str:
    """The id that was meant. Names of traits and whole ids are left as they are. Raises BinnacleError when none or several fit."""
    prefix = typed.partition("_")[0]
    if ID.fullmatch(typed) or (typed != LAST and prefix not in LISTS):
        return typed
    if typed == LAST:
        newest = next(client.jobs(owner=client.me()["owner"], limit=1), None)
        if newest is None:
            raise BinnacleError("no_jobs", "You have no jobs yet. Submit one with: binnacle submit calibrate MODEL")
        return newest["id"]
    found = [one for one in _ids(client, prefix) if one.startswith(typed)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise BinnacleError(
            "no_such_id", f"No id among your newest {SEARCHED:,} begins with {typed!r}. List them with: {LISTS[prefix]}"
        )
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise BinnacleError(
        "several_ids", f"{len(found)} ids begin with {typed!r}: {', '.join(found[:SHOWN])}{more}. Type more of the id."
    )


LISTS = {
    "job": "binnacle jobs",
    "cal": "binnacle jobs --kind calibrate",
    "ext": "binnacle jobs --kind extract",
    "str": "binnacle jobs --kind steer",
    "std": "binnacle jobs --kind report",
    "vec": "binnacle vectors list",
}
"""By the prefix of an id, the command that lists such objects."""


def _ids(client: Client, prefix: str) -> Iterable[str]:
    lists = {
        "job": client.jobs,
        "cal": client.calibrations,
        "ext": client.extractions,
        "str": client.steerings,
        "std": client.studies,
        "vec": client.vectors,
    }
    return (str(one["id"]) for one in lists[prefix](limit=SEARCHED))
