"""Decides when a worker serves generations first, and when a job yields to a generation.

Generations go first while they have credit: one slice of device time ahead of the other jobs, which earn it back second for second. So a
generation waits for a batch and not for an hour, and any number of generations leaves the other jobs half of the device.
"""


class GenerationsFirst:
    """One worker's balance between generations and other jobs, in seconds of its own clock. Kept in memory: a new child starts at zero."""

    def __init__(self, slice_seconds: float) -> None:
        self._slice = slice_seconds
        self._ahead = 0.0

    def ran(self, *, short: bool, seconds: float) -> None:
        """Records that a job ran for `seconds`."""
        self._ahead = max(0.0, self._ahead + (seconds if short else -seconds))

    def goes_first(self, running_seconds: float = 0.0) -> bool:
        """Whether generations go before other jobs, when one of these has run for `running_seconds`."""
        return self._ahead - running_seconds < self._slice
