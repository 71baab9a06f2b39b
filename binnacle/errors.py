"""The client's errors, each with a code and a sentence that says what to do."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from binnacle.results import Job


class BinnacleError(Exception):
    """The base of all errors that this client raises on purpose. `code` is stable, `detail` is for people.

    exit_status: the exit status of the command line. own_lines: the detail is this program's own text, which may have several lines.
    """

    exit_status = 1
    own_lines = False

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class NoService(BinnacleError):
    """No service was named, or its key is missing."""


class Unreachable(BinnacleError):
    """The service did not answer within the client's patience."""


class ServiceError(BinnacleError):
    """The service refused a request: its problem+json as an exception.

    status: the HTTP status. errors: the fields at fault, `[{"pointer", "detail", "code"}]`. request_id: what operators ask for.
    """

    def __init__(self, status: int, problem: dict[str, Any], request_id: str | None = None) -> None:
        self.status = status
        self.errors: list[dict[str, str]] = list(problem.get("errors") or [])
        self.request_id = problem.get("request_id") or request_id
        code = str(problem.get("code") or f"http_{status}")
        super().__init__(code, str(problem.get("detail") or problem.get("title") or f"The service answered {status}."))

    def __str__(self) -> str:
        fields = [f"{_place(error)}: {error.get('detail', '')}" for error in self.errors]
        fields = [field for field in fields if self.detail not in field and field != self.detail]
        request = f" [request {self.request_id}]" if self.request_id else ""
        return f"{self.code}: {self.detail}{''.join(f' ({field})' for field in fields)}{request}"


def _place(error: dict[str, str]) -> str:
    """Returns the field with the error: its JSON pointer in the body, or else the parameter of the address or the header."""
    return error.get("pointer") or error.get("parameter") or ""


class JobFailed(BinnacleError):
    """A job ended without success; `job` is its last state."""

    def __init__(self, job: "Job") -> None:
        error = job.get("error") or {}
        self.job = job
        super().__init__(
            str(error.get("code") or job["state"]), f"{error.get('detail') or 'the job was ' + job['state']} [{job['id']}]"
        )


class WaitTimeout(BinnacleError, TimeoutError):
    """A job did not end in time, but it continues: wait again, or cancel it. `job` is its last known state, if any was seen."""

    def __init__(self, job_id: str, seconds: float, job: "Job | None") -> None:
        self.job = job
        state = f"is {job['state']} ({job['phase']})" if job else "has not been seen"
        super().__init__("wait_timeout", f"{job_id} {state} after {seconds:g} s. The job continues: wait again, or cancel it.")


class CorruptDownload(BinnacleError):
    """The downloaded bytes do not match the SHA-256 that the service announced."""
