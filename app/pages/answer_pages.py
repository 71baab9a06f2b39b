"""Shows answers: each question with its unsteered and steered answer side by side, from the files behind /v1/steerings/{id}/responses."""

from typing import Annotated, Literal, TypedDict
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from app.auth.viewer import Viewer
from app.errors import Problem
from app.http.context import Context, Shared
from app.jobs import reading
from app.jobs.routes import JobId
from app.jobs.schemas import JobOut
from app.jobs.specs import MAKE_STEERINGS
from app.pages import sentences
from app.pages.doors import Reader, page_router
from app.pages.kept import kept
from app.pages.rendering import page
from app.pages.stored import File, document, file_of
from app.pages.texts.pairs import ORDERS, Pair, matched, ordered, pair
from app.pages.texts.runs import KEY_LENGTH, Chosen, chosen, key_of, where
from app.steerings import service
from app.steerings.lines import Lines, Wanted
from terms.documents.reading import read_answer, read_run, read_summary
from terms.documents.runs import RunLine, ShownLine, without_ids

router = page_router()

PER_PAGE = 20
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class Asked(BaseModel):
    """The parameters of the address: one run, or the best run of a set and a method."""

    run: Annotated[str, Field(pattern=rf"^[0-9a-zA-Z]{{{KEY_LENGTH}}}$|^$")] = ""
    set: Words = ""
    method: Words = ""
    order: Literal["asked", "worst", "best", "incoherent", "unsure"] = "worst"
    page: Annotated[int, Field(ge=1, le=10_000)] = 1

    def query(self, **changed: str | int) -> str:
        """Returns the query of this view with these changes."""
        values = {**self.model_dump(), **changed}
        return urlencode({name: value for name, value in values.items() if value != Asked.model_fields[name].default})


class Compared(TypedDict):
    """What `answers.jinja` shows of a run. `doses`: the key and the words of each run of its method; `alone`: nothing is beside its answers."""

    job: JobOut
    title: str
    asked: Asked
    chosen: Chosen
    doses: list[tuple[str, str]]
    key: str
    method: str
    where: str
    orders: dict[str, str]
    pairs: list[Pair]
    count: int
    further: bool
    alone: bool


@router.get("/jobs/{job_id}/answers")
async def answers(job_id: JobId, request: Request, viewer: Reader, context: Shared, asked: Annotated[Asked, Query()]) -> Response:
    """Shows the answers of a run of a steering beside the unsteered answers. 404 if the viewer may not see the job."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    if job.kind not in MAKE_STEERINGS:
        raise Problem(404, "not_found", "Only steerings have answers to compare. Open the job's own page.")
    sign = await _sign(context, job)
    selected = chosen(await _runs(context, job, viewer), key=asked.run, set_=asked.set, method=asked.method, sign=sign)
    if selected is None:
        raise Problem(404, "not_found", "This steering does not have that run. Open its answers page and choose a run there.")
    return page(request, "answers.jinja", **await _shown(context, job, viewer, selected, asked, sign))


async def _file(context: Context, job: JobOut, name: str, viewer: Viewer) -> File:
    """Returns where a file of the job is stored. Raises Problem 404, 409."""
    file = file_of(job, name)
    if file is None:  # the service says whether there is none yet (409) or none at all (404)
        artifact = await context.database.read(service.file, job.id, name, viewer)
        file = File(artifact.digest, artifact.size)
    return file


async def _runs(context: Context, job: JobOut, viewer: Viewer) -> list[RunLine]:
    """Returns every run of the steering."""
    file = await _file(context, job, "runs.jsonl", viewer)

    return await kept(file.digest, Lines(context.storage, file, read_run).every)


async def _sign(context: Context, job: JobOut) -> int:
    """Returns -1 if the steering aims at less of the trait, otherwise 1."""
    file = file_of(job, "summary.json")

    async def read() -> int:
        summary = await document(context, job, "summary.json", read_summary)
        return -1 if summary is not None and summary.get("direction") == "negative" else 1

    return 1 if file is None else await kept((file.digest, "sign"), read)


async def _shown(context: Context, job: JobOut, viewer: Viewer, selected: Chosen, asked: Asked, sign: int) -> Compared:
    """Returns the values for the template."""
    steered, unsteered = await _lines(context, job, viewer, selected)
    pairs = ordered(matched(steered, unsteered), asked.order, sign)
    first = (asked.page - 1) * PER_PAGE
    alone = selected.unsteered is None or selected.unsteered["run"] == selected.run["run"]
    return {
        "job": job,
        "title": sentences.title(job),
        "asked": asked,
        "chosen": selected,
        "doses": [(key_of(run), where(run) or selected.method) for run in selected.doses],
        "key": key_of(selected.run),
        "method": selected.method,
        "where": where(selected.run),
        "orders": {name: words for name, (words, _) in ORDERS.items()},
        "pairs": [pair(both) for both in pairs[first : first + PER_PAGE]],
        "count": len(pairs),
        "further": len(pairs) > first + PER_PAGE,
        "alone": alone,
    }


async def _lines(context: Context, job: JobOut, viewer: Viewer, selected: Chosen) -> tuple[list[ShownLine], list[ShownLine]]:
    """Returns the texts of the chosen run and of the unsteered run (none if it is the chosen run), without token ids."""
    file = await _file(context, job, "responses.jsonl", viewer)
    names = {str(run["run"]) for run in (selected.run, selected.unsteered) if run is not None}

    async def read() -> dict[str, list[ShownLine]]:
        by_run: dict[str, list[ShownLine]] = {}
        async for _, line in Lines(context.storage, file, read_answer).scan(Wanted(runs=names)):
            by_run.setdefault(line["run"], []).append(without_ids(line))
        return by_run

    by_run = await kept((file.digest, *sorted(names)), read)
    base = "" if selected.unsteered is None else str(selected.unsteered["run"])
    return by_run.get(selected.run["run"], []), by_run.get(base, []) if base != selected.run["run"] else []
