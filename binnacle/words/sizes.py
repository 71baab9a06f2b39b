"""Numbers of bytes as people read them."""


def gib(size: float) -> str:
    """`2.88 GiB`; two digits of what is under 0.1: `0.0037 GiB`."""
    value = size / 2**30
    return f"{value:,.2f} GiB" if value >= 0.1 or value == 0 else f"{value:.2g} GiB"
