"""Reads the stored files that a finished job's page shows, and passes them to the module of its kind."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from app.http.context import Context
from app.jobs.schemas import JobOut
from app.jobs.specs import MAKE_STEERINGS
from app.jobs.states import State
from app.pages.kept import kept
from app.pages.results import calibration, extraction, generation, steering, study
from app.pages.results.parts import Sections
from app.pages.stored import document, file_of
from terms.documents.reading import read_calibration, read_extraction, read_summary, read_tables

T = TypeVar("T")


async def sections(context: Context, job: JobOut, view: study.View) -> Sections:
    """Returns the sections Why and Cost of the job; both empty if it has no result.

    Without its files, a generation still has its answers and a study its recommendations, which are in the job's result.
    """
    if job.state != State.SUCCEEDED:
        return Sections()
    result = job.result or {}
    if job.kind == "generate":
        return generation.sections(result.get("answers") or [])
    if job.kind == "report":
        labelled = job.id if file_of(job, "labelling.csv") is not None else ""
        advised = (result.get("study") or {}).get("recommendations") or []
        return await _drawn(
            context, job, "tables.json", read_tables, lambda tables: study.sections(tables, advised, view, labelled), view
        )
    if job.kind in MAKE_STEERINGS:
        return await _drawn(context, job, "summary.json", read_summary, lambda summary: steering.sections(summary, job.id))
    if job.kind == "calibrate":
        return await _drawn(context, job, "calibration.json", read_calibration, calibration.sections)
    is_extraction = job.kind == "extract"
    return await _drawn(context, job, "extraction.json", read_extraction, extraction.sections) if is_extraction else Sections()


async def _drawn(
    context: Context,
    job: JobOut,
    name: str,
    read: Callable[[bytes], T],
    made: Callable[[T | None], Sections],
    view: Hashable = None,
) -> Sections:
    """Returns the sections of a file, computed once for all viewers of the same content in the same view."""
    file = file_of(job, name)
    if file is None:
        return made(None)

    async def drawn() -> Sections:
        return made(await document(context, job, name, read))

    return await kept((file.digest, job.id, view), drawn)
