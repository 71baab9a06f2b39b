"""Read at the start of every Python process under libfaketime, whose `clock_nanosleep` refuses to sleep until a monotonic time."""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
