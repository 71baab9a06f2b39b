"""Actions on a job from its page. Each dangerous action first asks on a page of its own, which works without a script."""

import re
import secrets

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from app.auth import repository as accounts
from app.deletion import service as deletion
from app.deletion.schemas import DeletionOut
from app.errors import Problem
from app.http.context import Shared
from app.http.uploads import checked
from app.jobs import reading, service
from app.jobs.editing import edit
from app.jobs.routes import JobId
from app.jobs.schemas import JobEdit, JobOut
from app.jobs.submitting import retried
from app.pages import sentences
from app.pages.doors import Changer, page_router
from app.pages.rendering import HEADERS, page
from app.pages.sending import api_request, sent
from app.pages.wording import size
from binnacle.words.counting import counted
from terms.values import JsonObject

router = page_router()


@router.get("/jobs/{job_id}/cancel")
async def ask_cancel(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Asks before a job is cancelled."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    effect = "The job stops as soon as its device does. Its finished parts are kept, and a retry uses them."
    return _question(request, job, "cancel", "Cancel this job?", "Cancel the job", effect)


@router.post("/jobs/{job_id}/cancel")
async def cancel(job_id: JobId, viewer: Changer, context: Shared) -> Response:
    """Cancels the job."""
    await context.database.run(service.cancel, job_id, viewer)
    return _to(job_id)


@router.get("/jobs/{job_id}/retry")
async def ask_retry(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Asks before a job is retried; the form contains an idempotency key, so that the retry happens once."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    effect = "This makes a new job of yours that reuses the finished parts. The new job counts toward your quotas."
    return _question(request, job, "retry", "Retry this job?", "Retry", effect)


@router.post("/jobs/{job_id}/retry")
async def retry(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Submits the new job and redirects to it."""
    asks = api_request(request, viewer, context, await sent(request), f"/v1/jobs/{job_id}/retry")
    planned = await context.database.run(service.retries_a_graph, job_id, viewer)
    return _to((await asks.answer(retried, job_id, planned=planned)).job.id)


@router.get("/jobs/{job_id}/delete")
async def ask_delete(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Asks before a job is deleted, and lists the jobs, files and vectors that the deletion removes."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    outcome = await context.database.run(deletion.delete_job, job_id, viewer, dry_run=True)
    effect = "This cannot be undone. Deleted with the job:"
    return _question(request, job, "delete", "Delete this job?", "Delete for good", effect, goes=_goes(outcome), danger=True)


@router.post("/jobs/{job_id}/delete")
async def delete(job_id: JobId, viewer: Changer, context: Shared) -> Response:
    """Deletes the job and redirects to the list of jobs."""
    await context.database.run(deletion.delete_job, job_id, viewer)
    return RedirectResponse("/", 303, headers=HEADERS)


@router.get("/jobs/{job_id}/edit")
async def edit_form(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Shows the form for the job's name, tags, notes and visibility."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    if not viewer.manages(job.owner):
        raise Problem(403, "forbidden", f"This job belongs to {job.owner}: only its owner and administrators may change it.")
    groups = await context.database.run(accounts.groups_of, [job.owner])
    offered = {*groups[job.owner], *([job.group or ""] if job.visibility == "group" else [])}
    return page(request, "edit.jinja", job=job, title=sentences.title(job), now=_fields(job), groups=sorted(offered))


@router.post("/jobs/{job_id}/edit")
async def save(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Saves the fields that the person changed. Fields that the form lacks stay unchanged; a box without a tick is sent as no field."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    form = {"keep": "", **{name: str(value) for name, value in (await request.form()).items()}}
    changed = {name: form[name] for name, now in _fields(job).items() if name in form and _lines(form[name]) != _lines(now)}
    await context.database.run(edit, job_id, viewer, checked(_change(changed), JobEdit))
    return _to(job_id)


def _fields(job: JobOut) -> dict[str, str]:
    """Returns the texts that fill the form. If the group of a job was deleted, its visibility is `group:`."""
    return {
        "name": job.name or "",
        "tags": ", ".join(job.tags),
        "notes": job.notes or "",
        "visibility": f"group:{job.group or ''}" if job.visibility == "group" else job.visibility,
        "keep": "yes" if job.keep else "",
    }


def _lines(text: str) -> str:
    """Returns a text with the one kind of line break in which a form sends all of them."""
    return re.sub(r"\r\n?", "\n", text)


def _change(form: dict[str, str]) -> JsonObject:
    """Returns the change that these fields of the form ask for."""
    change: JsonObject = {name: _lines(form[name]).strip() or None for name in ("name", "notes") if name in form}
    if "tags" in form:
        change["tags"] = list(dict.fromkeys(tag.strip() for tag in form["tags"].split(",") if tag.strip()))
    if "visibility" in form:
        change["visibility"], _, group = form["visibility"].partition(":")
        change["group"] = group or None
    return change | ({"keep": form["keep"] == "yes"} if "keep" in form else {})


def _goes(outcome: DeletionOut) -> list[str]:
    lines = [counted(len(outcome.deleted), "job"), f"{counted(outcome.files, 'file')}, {size(outcome.bytes)}"]
    lines += [counted(outcome.vectors, "vector")] if outcome.vectors else []
    return lines + [f"{job.kind} {job.name or ''} stays: {job.why}" for job in outcome.stays]


def _question(  # noqa: PLR0913 - the words of one page, each by name
    request: Request,
    job: JobOut,
    action: str,
    question: str,
    does: str,
    effect: str,
    *,
    goes: list[str] | None = None,
    danger: bool = False,
) -> Response:
    return page(
        request, "confirm.jinja", job=job, title=sentences.title(job), action=action, question=question, does=does, effect=effect,
        goes=goes or [], danger=danger, once=secrets.token_hex(16),
    )  # fmt: skip


def _to(job_id: str) -> Response:
    return RedirectResponse(f"/jobs/{job_id}", 303, headers=HEADERS)
