"""Errors that keep the embedded service from starting, each with a code and a sentence that says what to do."""

from binnacle.errors import BinnacleError


class EmbeddedError(BinnacleError):
    """A reason not to start that a person can act on. `exit_status` is what `binnacle up` ends with."""

    own_lines = True

    def __init__(self, code: str, detail: str, *, exit_status: int = 1) -> None:
        super().__init__(code, detail)
        self.exit_status = exit_status
