"""Routes of the page Try: the form, the job of each try, and its answers when they are ready. The address contains the whole state."""

import secrets
from typing import Annotated, Self, TypedDict
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem
from app.extractions import service as extractions
from app.extractions.results import VectorOut
from app.http.context import Context, Shared
from app.ids import id_pattern
from app.jobs import reading
from app.jobs.schemas import JobOut
from app.jobs.specs import generation_spec
from app.jobs.states import FINISHED
from app.models import service as models
from app.pages.doors import Changer, page_router
from app.pages.forms.choices import MOST, Choice, named, vectors_of
from app.pages.forms.kinds import FORMS
from app.pages.jobs import WAIT_SECONDS, Standing, standing_of
from app.pages.new_job import submitted
from app.pages.rendering import HEADERS, base_of, page
from app.pages.repeats import requests
from app.pages.sending import api_request, refusal, sent
from app.pages.trying.cliffs import Cliff, cliffs
from app.pages.trying.columns import Column, Push, columns
from terms.values import JsonObject

router = page_router()

FORM = FORMS["generate"]
SLOTS = 4
DOSE = 0.5
"""Initial dose of a slider."""
Words = Annotated[str, Field(max_length=20_000, pattern=r"^[^\x00]*$")]
WRONG = {
    "model": "A model's name is at most 200 characters long.",
    "prompt": "A prompt is at most 20,000 characters long, without the character NUL.",
    "system_prompt": "A system prompt is at most 20,000 characters long, without the character NUL.",
    "v": "A vector is given by its id.",
    "d": "A dose is a number, more than 0 and at most 100.",
    "max_new_tokens": "An answer is 1 to 256 tokens long.",
}
"""What the form says of each field that is out of its limits."""


class Tried(BaseModel):
    """The parameters of the address."""

    model: Annotated[str, Field(max_length=200)] = ""
    prompt: Words = ""
    system_prompt: Words = ""
    v: Annotated[list[Annotated[str, Field(pattern=rf"^$|{id_pattern('vec')}")]], Field(max_length=SLOTS)] = []
    d: Annotated[list[Annotated[float, Field(gt=0, le=100)]], Field(max_length=SLOTS)] = []
    max_new_tokens: Annotated[int, Field(ge=1, le=256)] = 64
    job: Annotated[str | None, Field(pattern=id_pattern("job"))] = None

    @property
    def pushes(self) -> list[Push]:
        """Returns the chosen vectors, each with its dose."""
        doses = [*self.d, *[DOSE] * SLOTS]
        return [Push(vector, dose) for vector, dose in zip(self.v, doses, strict=False) if vector]

    @property
    def body(self) -> JsonObject:
        """Returns the request of this try."""
        prompt = {"prompt": self.prompt, **({"system_prompt": self.system_prompt} if self.system_prompt.strip() else {})}
        body: JsonObject = {"model": self.model, "prompts": [prompt], "max_new_tokens": self.max_new_tokens}
        if self.pushes:
            body |= {"vectors": [push.vector for push in self.pushes], "doses": sorted({push.dose for push in self.pushes})}
        return body

    def query(self, job: str) -> str:
        """Returns the query of this try's answers, with doses in full because answers are found by them; the job contains the rest."""
        pairs = [pair for push in self.pushes for pair in (("v", push.vector), ("d", str(push.dose)))]
        return urlencode([*pairs, ("job", job)])

    def of(self, job: JobOut) -> Self:
        """Returns this view with the request of its job. Raises Problem 404 for a job that is not a try."""
        if job.kind != "generate":
            raise Problem(404, "not_found", "This job is not a try. Open its own page.")
        spec = generation_spec(job)
        first = spec["prompts"][0]
        asked = {"model": job.model or "", "prompt": first["prompt"], "system_prompt": first.get("system_prompt") or ""}
        return self.model_copy(update={**asked, "max_new_tokens": spec["max_new_tokens"]})


class Answers(Standing):
    """What `tried.jinja` shows: the job of a try, and its answers, each under its push in words."""

    columns: list[tuple[str, Column]]
    over: bool
    query: str


class Trying(TypedDict):
    """What `pushes.jinja` and `try.jinja` show. `slots`: number, vector and dose of each; `vectors`: id and name of each that may be chosen."""

    asked: Tried
    slots: list[tuple[int, str, float]]
    models: list[Choice]
    vectors: list[tuple[str, str]]
    cliffs: dict[str, Cliff]
    problem: Problem | None
    once: str
    requests: dict[str, str]
    answers: Answers | None


Asked = Annotated[Tried, Query()]


@router.get("/try")
async def try_page(request: Request, viewer: Changer, context: Shared, asked: Asked) -> Response:
    """Shows the form for trying vectors, and the answers of the job in the address."""
    return page(request, "try.jinja", **await _shown(request, context, viewer, asked))


@router.get("/parts/try")
async def pushes_part(request: Request, viewer: Changer, context: Shared, asked: Asked) -> Response:
    """Shows the vectors of the chosen model, with known facts about their doses."""
    return page(request, "pushes.jinja", **await _shown(request, context, viewer, asked))


@router.post("/try")
async def attempt(request: Request, viewer: Changer, context: Shared) -> Response:
    """Submits the job and redirects to the page of its answers; the button for the model's vectors submits nothing."""
    values = await sent(request)
    asked = _read(values)
    if values.get("do") == ["vectors"]:
        return page(request, "try.jinja", **await _shown(request, context, viewer, asked))
    try:
        job = await submitted(api_request(request, viewer, context, values, FORM.path), FORM, asked.body)
    except (Problem, RequestValidationError) as error:
        problem = refusal(error)
        return page(request, "try.jinja", problem.status, **await _shown(request, context, viewer, asked, problem))
    return RedirectResponse(f"/try?{asked.query(job)}#tried", 303, headers=HEADERS)


@router.get("/parts/tried")
async def tried_part(request: Request, viewer: Changer, context: Shared, asked: Asked) -> Response:
    """Returns the answers when the job has ended; until then, its state, when that changes."""
    if asked.job is None:
        raise Problem(404, "not_found", "A try is shown by its job's id: name it in `job`.")
    job = await reading.changed(context, request, asked.job, viewer, WAIT_SECONDS)
    return page(request, "tried.jinja", answers=await _answered(context, viewer, asked.of(job), job))


def _read(values: dict[str, list[str]]) -> Tried:
    """Returns the form as parameters. Raises Problem 422 for a field out of its limits."""
    first = {name: values[name][0].replace("\r\n", "\n") for name in WRONG if name in values and name not in ("v", "d")}
    try:
        return Tried.model_validate({**first, **{name: values.get(name, [])[:SLOTS] for name in ("v", "d")}})
    except ValidationError as error:
        fields = dict.fromkeys(str(fault["loc"][0]) for fault in error.errors())
        raise Problem(422, "invalid_try", " ".join(WRONG[name] for name in fields)) from error


async def _shown(request: Request, context: Context, viewer: Viewer, asked: Tried, problem: Problem | None = None) -> Trying:
    job = None if asked.job is None else await context.part(reading.Reader).job(asked.job, viewer)
    asked = asked if job is None else asked.of(job)

    def offered(session: Session) -> tuple[list[Choice], list[VectorOut]]:
        listed = [
            Choice(model.name, model.name) for model in models.listing(session, limit=MOST, after=None) if model.state != "faulty"
        ]
        own = list(vectors_of(session, viewer, asked.model)) if asked.model else []
        known = {vector.id for vector in own}
        further = [push.vector for push in asked.pushes if push.vector not in known]
        return listed, [*(extractions.shown_vector(session, vector_id, viewer) for vector_id in further), *own]

    listed, vectors = await context.database.read(offered)
    chosen = [vector for vector in vectors if vector.id in {push.vector for push in asked.pushes}]
    return {
        "asked": asked,
        "slots": [(at, (asked.v[at : at + 1] or [""])[0], (asked.d[at : at + 1] or [DOSE])[0]) for at in range(SLOTS)],
        "models": listed,
        "vectors": [(vector.id, named(vector)) for vector in vectors],
        "cliffs": await cliffs(context, viewer, chosen),
        "problem": problem,
        "once": secrets.token_hex(16),
        "requests": requests(FORM.called, FORM.path, asked.body, base_of(request)),
        "answers": None if job is None else await _answered(context, viewer, asked, job),
    }


async def _answered(context: Context, viewer: Viewer, asked: Tried, job: JobOut) -> Answers:
    tried = columns((job.result or {}).get("answers") or [], asked.pushes)
    words = await context.database.read(_words, viewer, asked.pushes)
    return {
        **standing_of(job, viewer),
        "columns": [("unsteered" if column.push is None else words[column.push], column) for column in tried],
        "over": job.state in FINISHED,
        "query": asked.query(job.id),
    }


def _words(session: Session, viewer: Viewer, pushes: list[Push]) -> list[str]:
    """Returns each push in words."""
    return [f"{named(extractions.shown_vector(session, push.vector, viewer))}, dose {push.dose:g}" for push in pushes]
