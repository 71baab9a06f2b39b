"""What routes that create jobs share: their documentation, the check of the idempotency key, the dry run, and the answer with the job."""

from collections.abc import Callable
from typing import Annotated, TypedDict, TypeVar, TypeVarTuple, Unpack

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.db import AsyncDatabase
from app.http.access import Member
from app.http.context import Context, Shared
from app.http.problems import documented
from app.jobs.idempotency import IdempotencyHeader, idempotency, once
from app.jobs.responses import job_response, submitted_response
from app.jobs.schemas import JobOut
from app.jobs.submission import Asker
from app.jobs.submitting import Answer
from app.planner import Planner
from terms.values import JsonField

Body = TypeVar("Body", bound=BaseModel)
More = TypeVarTuple("More")

DryRun = Annotated[bool, Query(description="only check the request and estimate its cost")]
Reuse = Annotated[
    bool,
    Query(
        description="return a finished job of the same calculation, if you may read one; the request's webhook is then notified at once"
    ),
]


class JobRoute(TypedDict):
    """Arguments of a route's decorator that say that the route creates a job."""

    status_code: int
    response_model: type[JobOut]
    responses: dict[int | str, JsonField]


def creates_job(
    *problems: int,
    job: str = "the job",
    cost: type[BaseModel] | None = None,
    answers_200: str = "dry_run: the estimated cost. reuse: the finished job, named in Binnacle-Reused",
) -> JobRoute:
    """Returns the arguments of the decorator of a route that creates a job: `@router.post("", summary="...", **creates_job(413, 415))`.

    `problems`: statuses of errors beside those of every such route. `job` says which job the header Location names. `cost` is what a dry run
    returns, if the route has one, and `answers_200` says when such a route answers 200.
    """
    responses: dict[int | str, JsonField] = {202: {"headers": {"Location": {"description": job, "schema": {"type": "string"}}}}}
    if cost is not None:
        responses[200] = {"description": answers_200, "model": cost | JobOut}
    responses |= documented(403, 409, 422, 429, *problems)
    return {"status_code": 202, "response_model": JobOut, "responses": responses}


class Asking:
    """A request that creates a job, and its answers.

    With `planned`, the request creates a graph of jobs: then `app.planner` runs the work instead of the database. A page names the `route` of
    the API that makes the same job: an idempotency key belongs to a route.
    """

    def __init__(self, request: Request, viewer: Viewer, context: Context, idempotency_key: str | None, route: str = "") -> None:
        self.viewer = viewer
        self.context = context
        self._request = request
        self._key = idempotency_key
        self._route = route or f"{request.method} {request.scope['path']}"

    async def priced(
        self,
        estimate: Callable[[Session, Asker, Body, Unpack[More]], BaseModel],
        body: Body,
        *more: *More,
        planned: bool = False,
    ) -> Response:
        """Returns the estimate that `estimate(session, asker, body, *more)` computes; creates nothing. Also refuses an invalid key."""
        cost = await self._database(planned).run(estimate, self._asker(body), body, *more)
        return JSONResponse(cost.model_dump(mode="json"))

    async def answer(
        self, submit: Callable[[Session, Asker, Unpack[More]], Answer], *args: *More, planned: bool = False
    ) -> Answer:
        """Returns the job that `submit(session, asker, *args)` creates. Sending the same request again under its key creates no second job.

        `args` includes the request's body, if the request has a body. Raises Problem 409 while an earlier request under the key is being
        processed.
        """
        body = next((arg for arg in args if isinstance(arg, BaseModel)), None)
        answer: Answer = await once(self._database(planned), submit, self._asker(body), *args)
        return answer

    async def submitted(
        self, submit: Callable[[Session, Asker, Unpack[More]], Answer], *args: *More, planned: bool = False
    ) -> Response:
        """Returns `answer` as the API's response."""
        answer = await self.answer(submit, *args, planned=planned)
        if answer.reused:
            return job_response(answer.job, request=self._request, headers={"Binnacle-Reused": answer.job.id})
        return submitted_response(answer.job, request=self._request, replayed=answer.replayed)

    def _asker(self, body: BaseModel | None) -> Asker:
        """Returns the caller with the request's idempotency key. Raises Problem 422 for an invalid key."""
        promise = idempotency(self._route, self._key, {} if body is None else body.model_dump(mode="json"))
        return Asker(self.viewer, self.context.settings, promise, self._request.state.request_id)

    def _database(self, planned: bool) -> AsyncDatabase | Planner:
        return self.context.planner if planned else self.context.database


async def _asking(request: Request, viewer: Member, context: Shared, idempotency_key: IdempotencyHeader = None) -> Asking:
    return Asking(request, viewer, context, idempotency_key)


Asks = Annotated[Asking, Depends(_asking)]
