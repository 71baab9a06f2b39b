"""Client methods for existing jobs: reading, following, changing and deleting."""

from collections.abc import Callable, Iterator
from typing import Any

from binnacle import following
from binnacle.errors import JobFailed, ServiceError
from binnacle.parts.calls import Body, Calls
from binnacle.results import Deletion, Event, Job
from binnacle.served import ID, RESULTS, SHARED, id_of, quoted


class Jobs(Calls):
    """The part of the client that deals with jobs."""

    def job(self, job: str | Job) -> Job:
        """Returns the current state of a job.

        >>> job = client.calibrate("demo-severe", max_new_tokens=4)
        >>> client.job(job["id"])["kind"]
        'calibrate'
        """
        return self._get(Job, f"/v1/jobs/{quoted(id_of(job))}")

    def jobs(self, *, limit: int | None = None, **filters: Any) -> Iterator[Job]:
        """Yields jobs, newest first, at most `limit`; filters: state, kind, model, owner, name, tag, q (words), experiment, model_variant.

        >>> [job["kind"] for job in client.jobs(kind="calibrate", model="demo-severe", limit=1)]
        ['calibrate']
        """
        yield from self._pages(Job, "/v1/jobs", filters, limit)

    def wait(
        self,
        job: str | Job,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """Waits until a job has ended and returns it, also across restarts of the service. `on_change(job)` is called at every change.

        Raises WaitTimeout after `timeout` seconds and, unless `check` is False, JobFailed when it did not succeed.

        >>> job = client.calibrate("demo-severe", max_new_tokens=4)
        >>> client.wait(job, timeout=300)["state"]
        'succeeded'
        """
        finished = following.wait_until_over(self._connection, id_of(job), timeout=timeout, on_change=on_change)
        if check and finished["state"] != "succeeded":
            raise JobFailed(finished)
        return finished

    def events(self, job: str | Job, after: int = 0) -> Iterator[Event]:
        """Yields every event of a job past number `after`, as it happens, until the job has ended.

        >>> job = client.wait(client.calibrate("demo-severe", max_new_tokens=4))
        >>> [event["type"] for event in client.events(job)][0]
        'submitted'
        """
        return following.events(self._connection, id_of(job), after=after)

    def cancel(self, job: str | Job) -> Job:
        """Asks a job to stop; it is `cancelled` once its device is free. A job that was cancelled already is returned unchanged.

        >>> client.cancel(client.calibrate("demo-severe"))["state"] in ("cancelled", "cancelling")
        True
        """
        path = f"/v1/jobs/{quoted(id_of(job))}"
        try:
            return self._send(Job, "POST", f"{path}/cancel")
        except ServiceError as error:
            if error.status == 409 and (now := self.job(job))["state"] in {"cancelled", "cancelling"}:
                return now
            raise

    def retry(self, job: str | Job, *, idempotency_key: str | None = None) -> Job:
        """Submits a new job with the spec of a job that failed or was cancelled.

        >>> job = client.wait(client.cancel(client.calibrate("demo-severe")), check=False)
        >>> again = client.retry(job)
        >>> again["retry_of"] == job["id"]
        True
        >>> client.cancel(again)["id"] == again["id"]
        True
        """
        return self._post_once(f"/v1/jobs/{quoted(id_of(job))}/retry", key=idempotency_key)

    def edit(self, job: str | Job, **changes: Any) -> Job:
        """Changes a job's name, tags, notes, keep, visibility, group or webhook; fields that are not named stay.

        >>> job = next(client.jobs(kind="calibrate"))
        >>> client.edit(job, name="first", tags=["paper"])["tags"]
        ['paper']
        """
        return self._send(Job, "PATCH", f"/v1/jobs/{quoted(id_of(job))}", changes)

    def share(self, job: str | Job, visibility: str, group: str | None = None) -> Body:
        """Shares an object: `public`, `group` (one of your groups), or `private` again. Returns the changed object.

        The object is a job with its results (and a study's jobs), by its own id or its result's; a trait, by its id or name; or an imported
        vector.

        >>> job = next(client.jobs(kind="calibrate"))
        >>> client.share(job, "public")["visibility"]
        'public'
        """
        name = id_of(job)
        path = _path(self.job_of(name) if ID.fullmatch(name) else name)
        return self._send(Body, "PATCH", path, {"visibility": visibility, **({"group": group} if group else {})})

    def delete(self, what: str | Job, *, dry_run: bool = False) -> Deletion:
        """Deletes a finished job with its results (by its id or its result's), an imported vector, or a trait (by its id or name).

        Returns the deleted objects, those that stay and why, and the bytes; `dry_run` deletes nothing.
        ServiceError 409 names what still uses it.

        >>> job = client.wait(client.generate_job("demo-severe", ["describe a river ."], vectors=[], max_new_tokens=4))
        >>> client.delete(job, dry_run=True)["deleted"][0]["id"] == job["id"]
        True
        >>> client.delete(job)["dry_run"]
        False
        """
        return self._send(Deletion, "DELETE", _path(id_of(what)), params={"dry_run": dry_run or None}, repeatable=dry_run)

    def job_of(self, which: str) -> str:
        """Returns the job's id for a job or a result of any kind (`cal_...`, `ext_...`, `str_...`, `std_...`).

        >>> client.job_of(next(client.calibrations())["id"]).startswith("job_")
        True
        """
        route = RESULTS.get(which.partition("_")[0])
        return which if route is None else str(self._get(Body, f"{route}/{quoted(which)}")["job"])


def _path(name: str) -> str:
    """Returns the path of a job or result, of an imported vector, or of a trait, given by its id; any other text is a trait's name."""
    prefix = name.partition("_")[0] if ID.fullmatch(name) else "trait"
    return f"{SHARED.get(prefix, '/v1/jobs')}/{quoted(name)}"
