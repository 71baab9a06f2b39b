"""Formats counts for people."""


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun: `1 job`, `2,000 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
