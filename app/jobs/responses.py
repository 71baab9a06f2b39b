"""Builds HTTP answers with jobs: the body, its entity tag, and when to ask again."""

from fastapi import Request, Response

from app.etags import etag_of, names_etag
from app.jobs.schemas import JobOut
from app.jobs.states import FINISHED, State


def retry_after(job: JobOut) -> int | None:
    """Returns the seconds until another request is likely to show something new; None when nothing will change."""
    if job.state in FINISHED:
        return None
    # A job with three others ahead, or one that is not in the queue yet, rarely changes within seconds; other jobs can change at any time.
    if job.state == State.QUEUED and (job.queue_position is None or job.queue_position > 3):
        return 15
    return 2


def job_response(job: JobOut, *, request: Request, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Returns the job as a response, or 304 when If-None-Match has the tag of the body (for a GET that would answer 200)."""
    body = job.model_dump_json().encode()
    etag = etag_of(body)
    all_headers = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    seconds = retry_after(job)
    if seconds is not None:
        all_headers["Retry-After"] = str(seconds)
    if request.method in ("GET", "HEAD") and status == 200 and names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=all_headers)
    return Response(body, status, headers=all_headers, media_type="application/json")


def submitted_response(job: JobOut, *, request: Request, replayed: bool = False) -> Response:
    """Returns 202 with the address of the job."""
    headers = {"Location": f"/v1/jobs/{job.id}", **({"Idempotency-Replayed": "true"} if replayed else {})}
    return job_response(job, request=request, status=202, headers=headers)
