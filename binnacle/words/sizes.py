"""Formats numbers of bytes for people."""


def bytes_in_words(size: float) -> str:
    """Returns a size as `2.88 GiB`, `3.83 MiB`, `37.75 KiB` or `12 bytes`: in the largest unit that is at most ten times the size."""
    for name, unit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= unit / 10:
            return f"{size / unit:,.2f} {name}"
    return f"{size:.0f} bytes"
