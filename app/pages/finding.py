"""Finds what a finished job's page shows: its stored files, given to the module of its kind."""

from app.http.context import Context
from app.jobs.schemas import JobOut
from app.jobs.states import State
from app.pages.results import calibration, extraction, generation, steering, study
from app.pages.results.parts import Sections
from app.pages.stored import document

FILES = {
    "calibrate": ("calibration.json", calibration.sections),
    "extract": ("extraction.json", extraction.sections),
}


async def sections(context: Context, job: JobOut, view: study.View) -> Sections:
    """Why and Cost of the job; both empty where it has no result or its files were removed."""
    if job.state != State.SUCCEEDED:
        return Sections()
    result = job.result or {}
    if job.kind == "generate":
        return generation.sections(result.get("answers") or [])
    if job.kind == "report":
        found = await document(context, job, "tables.json") or {}
        labelled = job.id if any(one.name == "labelling.csv" for one in job.artifacts) else ""
        return study.sections(found, (result.get("study") or {}).get("recommendations") or [], view, labelled)
    if job.kind in ("steer", "rescore"):
        return steering.sections(await document(context, job, "summary.json") or {}, job.id)
    if job.kind not in FILES:
        return Sections()
    name, made = FILES[job.kind]
    return made(await document(context, job, name) or {})
