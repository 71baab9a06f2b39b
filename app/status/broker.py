"""Checks that the broker accepts notifications: a full broker answers but refuses them."""

from redis.exceptions import OutOfMemoryError, ReadOnlyError

KEY = "health"
SECONDS = 60
"""The key that a check writes, after the broker's prefix, and the seconds for which it stays."""


def refusal(error: Exception) -> str:
    """Returns what an error of the check means and what to do; its own text is left out, as it may hold an address or a password."""
    if isinstance(error, OutOfMemoryError):
        return (
            "has reached its maxmemory and accepts no notifications: jobs start a few seconds late, when idle "
            "workers poll. Raise maxmemory, or remove other data from it"
        )
    if isinstance(error, ReadOnlyError):
        return "is a replica and accepts no writes: BROKER_URL must name the primary"
    return type(error).__name__
