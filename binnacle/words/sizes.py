"""Formats numbers of bytes for people."""


def gib(size: float) -> str:
    """Returns a size as `2.88 GiB`, with two significant digits below 0.1: `0.0037 GiB`."""
    value = size / 2**30
    return f"{value:,.2f} GiB" if value >= 0.1 or value == 0 else f"{value:.2g} GiB"
