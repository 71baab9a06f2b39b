"""What can keep the embedded service from starting, each as a code and a sentence that says what to do."""


class EmbeddedError(Exception):
    """A reason not to start that a person can act on. `exit_status` is what `binnacle up` ends with."""

    def __init__(self, code: str, detail: str, *, exit_status: int = 1) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.exit_status = exit_status
