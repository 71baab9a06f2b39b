"""Makes a child process wait until its parent lets it continue, also after a restart of the child."""

import os


class Latch:
    """A pipe; the child waits for the end of its input. The latch opens by itself when the parent dies."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        """Returns the descriptor that the child inherits and passes to `wait`. It stays readable, so that a restarted child does not wait."""
        return self._read

    def open(self) -> None:
        """Lets the child continue."""
        os.close(self._write)


def wait(descriptor: int) -> None:
    """Returns once the latch is open."""
    os.read(descriptor, 1)
