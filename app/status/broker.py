"""Whether the broker takes bells: that it answers is not enough, as a full one answers and refuses every bell."""

from redis.exceptions import OutOfMemoryError, ReadOnlyError

KEY = "health"
SECONDS = 60
"""What a check writes, below the broker's prefix, and for how long it stays."""


def refusal(error: Exception) -> str:
    """What an error of the check means and what to do; its own text may hold an address or a password."""
    if isinstance(error, OutOfMemoryError):
        return (
            "is at its maxmemory and takes no bells: jobs start only when workers look by themselves, seconds later. "
            "Raise maxmemory, or remove what else fills it"
        )
    if isinstance(error, ReadOnlyError):
        return "is a replica that takes no writes: BROKER_URL must name the primary"
    return type(error).__name__
