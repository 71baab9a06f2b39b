"""Blind labelling of a study: a person scores how much each answer shows the trait, without seeing any score; a new report uses the labels."""

import csv
import io
import random
import secrets
from typing import TypedDict

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse

from app.auth.viewer import Viewer
from app.errors import Problem
from app.http.context import Context, Shared
from app.http.uploads import checked
from app.jobs import reading
from app.jobs.routes import JobId
from app.jobs.schemas import JobOut
from app.pages import sentences, sessions
from app.pages.doors import Changer, page_router
from app.pages.rendering import HEADERS, page
from app.pages.sending import Values, api_request, refusal, sent
from app.pages.stored import content
from app.studies import service
from app.studies.schemas import LabelsIn
from binnacle.words.sheets import restored

router = page_router()

HIGHEST = 9
"""The highest number that a person can choose: 0 to 9 is stored as 0 to 100."""


class Labelling(TypedDict):
    """What `label.jinja` shows. `texts`: rows of labelling.csv; `given`: the number chosen for a text, by the text's id."""

    job: JobOut
    title: str
    texts: list[dict[str, str]]
    given: dict[str, str]
    highest: int
    problem: Problem | None
    once: str


@router.get("/jobs/{job_id}/label")
async def label_form(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Shows the texts of the study's labelling.csv, in a random order that is fixed for each session."""
    return page(request, "label.jinja", **await _shown(request, context, viewer, job_id, {}))


@router.post("/jobs/{job_id}/label")
async def label(job_id: JobId, request: Request, viewer: Changer, context: Shared) -> Response:
    """Submits the labels, and redirects to the new report."""
    values = await sent(request)
    try:
        asked = checked({"labels": _labels(values)}, LabelsIn, strict=True)
        answer = await api_request(request, viewer, context, values, f"/v1/studies/{job_id}/labels").answer(
            service.label, job_id, asked
        )
    except (Problem, RequestValidationError) as error:
        problem = refusal(error)
        if problem.status == 422:
            problem = Problem(422, problem.code, "No text was labelled. Choose a number for at least one text.")
        return page(request, "label.jinja", problem.status, **await _shown(request, context, viewer, job_id, values, problem))
    return RedirectResponse(f"/jobs/{answer.job.id}", 303, headers=HEADERS)


def _labels(values: Values) -> dict[str, float]:
    """Returns the labels by the text's id, 0 to 100; leaves out texts without a number."""
    chosen = {name.removeprefix("t-"): given[0] for name, given in values.items() if name.startswith("t-")}
    return {name: round(100 * int(given) / HIGHEST, 1) for name, given in chosen.items() if given in set("0123456789")}


async def _shown(
    request: Request, context: Context, viewer: Viewer, job_id: str, values: Values, problem: Problem | None = None
) -> Labelling:
    job = await context.part(reading.Reader).job(job_id, viewer)
    file = await context.database.read(service.file, job_id, "labelling.csv", viewer)
    data = await content(context, file.digest, file.size)
    texts = [{name: restored(cell) for name, cell in row.items()} for row in csv.DictReader(io.StringIO(data.decode()))]
    random.Random(f"{sessions.csrf_token(request)} {job_id}").shuffle(texts)
    return {
        "job": job,
        "title": sentences.title(job),
        "texts": texts,
        "given": {name.removeprefix("t-"): given[0] for name, given in values.items() if name.startswith("t-")},
        "highest": HIGHEST,
        "problem": problem,
        "once": secrets.token_hex(16),
    }
