"""Resolves ids as people type them: complete, by a unique prefix, or `last` for the user's newest job."""

from collections.abc import Iterable

from binnacle.client import Client
from binnacle.errors import BinnacleError
from binnacle.served import ID

LAST = "last"
SEARCHED = 2_000
"""Number of newest objects that are searched for a prefix."""
SHOWN = 5


def pick(client: Client, typed: str, of: str = "") -> str:
    """Returns the full id. Complete ids stay unchanged, and so do names of traits, where `of` is empty.

    of: the prefix of the ids that the command takes, if it takes no names. Raises BinnacleError for text that is no id then, and if no id or
    several ids match.
    """
    prefix, _, begins = typed.partition("_")
    if ID.fullmatch(typed) or (typed != LAST and (prefix not in LISTS or not begins)):
        if of and not ID.fullmatch(typed):
            raise BinnacleError("bad_id", f"{typed!r} is not an id, like {of}_01k9... List them with: {LISTS[of]}")
        return typed
    if typed == LAST:
        newest = next(client.jobs(owner=client.me()["owner"], limit=1), None)
        if newest is None:
            raise BinnacleError("no_jobs", "You have no jobs yet. Submit one with: binnacle submit calibrate MODEL")
        return newest["id"]
    matching = [full_id for full_id in _ids(client, prefix) if full_id.startswith(typed)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise BinnacleError(
            "no_such_id", f"No id among your newest {SEARCHED:,} begins with {typed!r}. List them with: {LISTS[prefix]}"
        )
    more = f" and {len(matching) - SHOWN} more" if len(matching) > SHOWN else ""
    raise BinnacleError(
        "several_ids", f"{len(matching)} ids begin with {typed!r}: {', '.join(matching[:SHOWN])}{more}. Type more of the id."
    )


LISTS = {
    "job": "binnacle jobs",
    "cal": "binnacle jobs --kind calibrate",
    "ext": "binnacle jobs --kind extract",
    "str": "binnacle jobs --kind steer",
    "std": "binnacle jobs --kind report",
    "vec": "binnacle vectors list",
}
"""The command that lists objects, by the prefix of their ids."""


def _ids(client: Client, prefix: str) -> Iterable[str]:
    lists = {
        "job": client.jobs,
        "cal": client.calibrations,
        "ext": client.extractions,
        "str": client.steerings,
        "std": client.studies,
        "vec": client.vectors,
    }
    return (str(entry["id"]) for entry in lists[prefix](limit=SEARCHED))
