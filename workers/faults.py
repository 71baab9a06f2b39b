"""Decides what an exception that ended a handler means for the job and for this process."""

import sys
from dataclasses import dataclass

from app.errors import as_error
from terms.documents.jobs import ErrorFacts
from workers.job import JobFault


@dataclass(frozen=True)
class Verdict:
    """The job's error; whether it is a bug in this program (then the traceback is logged); whether the process must end."""

    error: ErrorFacts
    unexpected: bool = False
    must_exit: bool = False


def judge(error: Exception) -> Verdict:
    """Deterministic faults keep their code and sentence; memory and device errors get their own; any other exception is a bug in this
    program."""
    if isinstance(error, JobFault):
        return Verdict(as_error(error.code, error.detail, **error.facts))
    if "torch" not in sys.modules:
        return _out_of_memory(error) if isinstance(error, MemoryError) else _ours(error)
    from workers.lm.errors import ModelFault
    from workers.lm.memory import is_out_of_memory, is_sticky_device_error

    if is_sticky_device_error(error):
        detail = f"The device failed: {_first_line(error)}. The worker restarts. Retry; if it fails again, tell an administrator."
        return Verdict(as_error("device_failed", detail), unexpected=True, must_exit=True)
    if isinstance(error, ModelFault):
        return Verdict(as_error(error.code, error.sentence))
    if is_out_of_memory(error):
        return _out_of_memory(error)
    return _ours(error)


def _out_of_memory(error: Exception) -> Verdict:
    detail = f"Even a single row does not fit into memory: {_first_line(error)}. Use shorter prompts or request fewer new tokens."
    return Verdict(as_error("out_of_memory", detail))


def _ours(error: Exception) -> Verdict:
    detail = (
        f"An internal error occurred ({type(error).__name__}). The worker's log has it under this job's id; please report it."
    )
    return Verdict(as_error("internal_error", detail), unexpected=True)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:300]
