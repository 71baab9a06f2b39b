"""Run by every Python process under libfaketime: replaces `time.sleep`, since `clock_nanosleep` fails there on the monotonic clock."""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
