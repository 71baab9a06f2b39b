"""Shows the home page: your jobs and the devices in a sentence, then each job as a sentence, updated live."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, TypedDict
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.etags import etag_of, names_etag
from app.http.context import Context, Shared
from app.jobs import repository, service
from app.jobs.kinds import KINDS
from app.jobs.repository import ABOUT_MODELS, JobFilters
from app.jobs.routes import JobPage
from app.jobs.schemas import JobOut
from app.jobs.states import FINISHED, State
from app.jobs.views import views
from app.moments import TimeAndId
from app.pages import sentences
from app.pages.answers import Answer, answer
from app.pages.devices import devices_in_words
from app.pages.doors import Reader, page_router
from app.pages.rendering import HEADERS, page, text_of
from app.status import repository as fleet

router = page_router()

PER_PAGE = 30
COUNTED = 1_000
"""Number of a user's newest jobs among which finished jobs are counted."""
IDLE, BUSY = 25, 18
"""Seconds between polls of an open page: without and with unfinished jobs on it."""
ANSWERING = frozenset(KINDS) - frozenset(ABOUT_MODELS)
"""Kinds with a result to report; other kinds only finish."""
Show = Literal["all", "unfinished", "succeeded", "failed", "cancelled"]
STATES: dict[str, list[State]] = {
    "all": [],
    "unfinished": [State.QUEUED, State.RUNNING, State.CANCELLING],
    "succeeded": [State.SUCCEEDED],
    "failed": [State.FAILED],
    "cancelled": [State.CANCELLED],
}
Words = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class Asked(BaseModel):
    """The parameters of the address."""

    show: Show = "all"
    kind: Words = ""
    whose: Literal["me", "all"] = "me"
    q: Words = ""
    tag: Words = ""
    cursor: Annotated[str | None, Field(max_length=500)] = None

    def query(self, **changed: str | None) -> str:
        """Returns the query of this view with these changes, without default values."""
        values = {**self.model_dump(), **changed}
        return urlencode({name: value for name, value in values.items() if value != Asked.model_fields[name].default})

    @property
    def narrowed(self) -> bool:
        """Returns whether the view shows less than all of the user's own jobs."""
        return bool(self.query(cursor=None, whose="me"))

    def filters(self, viewer: Viewer) -> JobFilters:
        """Returns the filters of the API's list of jobs."""
        return JobFilters(
            state=STATES[self.show],
            kind=self.kind or None,
            owner=viewer.owner if self.whose == "me" else None,
            tag=self.tag or None,
            words=self.q or None,
        )


@dataclass(frozen=True)
class Row:
    """A job in the list; `answer` where its result has one, or it failed."""

    job: JobOut
    title: str
    standing: str
    answer: Answer | None


class Listing(TypedDict):
    """What `jobs.jinja` shows. `older`: the cursor of the next page; `counts`: the viewer's jobs by state, those that finished among the newest
    `most`; `every`: seconds until the page asks again."""

    asked: Asked
    rows: list[Row]
    older: str | None
    counts: dict[str, int]
    most: int
    devices: str
    every: int


View = Annotated[Asked, Query()]


@router.get("/")
async def home(request: Request, viewer: Reader, context: Shared, asked: View) -> Response:
    """Shows the home page: the list of jobs that match the view."""
    return page(request, "home.jinja", kinds=sorted(KINDS), **await _shown(context, viewer, asked))


@router.get("/parts/jobs")
async def jobs_part(request: Request, viewer: Reader, context: Shared, asked: View) -> Response:
    """Returns the list of jobs, the part of the home page that changes; 304 when the browser has the current version."""
    shown = await _shown(context, viewer, asked)
    etag = etag_of(text_of(request, "jobs.jinja", **shown, etag="").encode())
    headers = {**HEADERS, "ETag": etag}
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    answer_ = page(request, "jobs.jinja", **shown, etag=etag)
    answer_.headers["ETag"] = etag
    return answer_


async def _shown(context: Context, viewer: Viewer, asked: Asked) -> Listing:
    filters = asked.filters(viewer)

    def fetch(session: Session, before: TimeAndId | None, count: int) -> list[JobOut]:
        jobs = service.listing(session, viewer, filters, limit=count, before=before)
        return views(session, jobs, viewer, slice_seconds=context.settings.lease.slice)

    def board(session: Session) -> tuple[dict[str, int], str]:
        workers = fleet.workers(session, viewer, lease_seconds=context.settings.lease.ttl)
        busy = {worker.busy_with for worker in workers if worker.busy_with is not None}
        own = repository.owned(session, viewer.owner, busy) if busy else frozenset()
        return repository.tallies(session, viewer.owner, most=COUNTED), devices_in_words(workers, own)

    listed = await JobPage.newest(
        context, fetch, scope=f"page {filters}", limit=PER_PAGE, cursor=asked.cursor, key=lambda job: (job.created_at, job.id)
    )
    counts, devices = await context.database.read(board)
    now = datetime.now(UTC)
    return {
        "asked": asked,
        "rows": [_row(job, now) for job in listed.items],
        "older": listed.next_cursor,
        "counts": counts,
        "most": COUNTED,
        "devices": devices,
        "every": BUSY if any(job.state not in FINISHED for job in listed.items) else IDLE,
    }


def _row(job: JobOut, now: datetime) -> Row:
    answers = job.state == State.FAILED or (job.state == State.SUCCEEDED and job.kind in ANSWERING)
    return Row(job, sentences.title(job), sentences.standing(job, now), answer(job) if answers else None)
