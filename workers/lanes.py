"""When a worker serves generations first, and when a job makes room for one.

Generations go first as long as they have credit: one slice of device time ahead of the other jobs, which these win back one for one.
So a generation waits for a batch and not for an hour, and however many there are the other jobs keep half of the device.
"""


class GenerationsFirst:
    """One worker's account of generations and other jobs, in seconds of its own clock. It is kept in memory: a new child begins at nothing."""

    def __init__(self, slice_seconds: float) -> None:
        self._slice = slice_seconds
        self._ahead = 0.0

    def ran(self, *, short: bool, seconds: float) -> None:
        """A job has run for so long."""
        self._ahead = max(0.0, self._ahead + (seconds if short else -seconds))

    def goes_first(self, running_seconds: float = 0.0) -> bool:
        """Whether generations go before other jobs, `running_seconds` into one of those."""
        return self._ahead - running_seconds < self._slice
