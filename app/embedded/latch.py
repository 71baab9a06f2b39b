"""Holds a child process at a point until its parent lets it on, also after the child was restarted."""

import os


class Latch:
    """A pipe: the child waits for the end of its input. It opens by itself when the parent dies."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        """What the child inherits, and gives to `wait`. It stays readable, so that a restarted child is not held."""
        return self._read

    def open(self) -> None:
        """Lets the child on."""
        os.close(self._write)


def wait(descriptor: int) -> None:
    """Returns once the latch is open."""
    os.read(descriptor, 1)
