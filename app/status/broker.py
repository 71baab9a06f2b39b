"""Checks that the broker accepts notifications: a full broker answers but refuses them."""

from redis.exceptions import OutOfMemoryError, ReadOnlyError

KEY = "health"
SECONDS = 60
"""What a check writes, below the broker's prefix, and for how long it stays."""


def refusal(error: Exception) -> str:
    """What an error of the check means and what to do; its own text may hold an address or a password."""
    if isinstance(error, OutOfMemoryError):
        return (
            "has reached its maxmemory and accepts no notifications: jobs start a few seconds late, when idle "
            "workers poll. Raise maxmemory, or remove other data from it"
        )
    if isinstance(error, ReadOnlyError):
        return "is a replica and accepts no writes: BROKER_URL must name the primary"
    return type(error).__name__
