"""`binnacle.Client`: the service from Python. What it returns are the API's own JSON bodies, as dictionaries.

Needs no torch. Every call that could make a job carries an idempotency key, so that trying again never makes two.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from binnacle import downloads, following, uploads
from binnacle.address import find_address
from binnacle.administration import Administration
from binnacle.connection import Attempts, Connection
from binnacle.errors import JobFailed, ServiceError
from binnacle.served import ID, RESULTS, ROUTES, SHARED, id_of

Job = dict[str, Any]


class Client:
    """A connection to one service; a context manager, though a notebook may leave it open."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, home: str | Path | None = None, patience: float = 60
    ) -> None:
        """url, key: else `BINNACLE_URL`, `BINNACLE_KEY`; else the service that `binnacle up` runs in `home` (`BINNACLE_HOME`).

        patience: seconds for which a service that is away or restarting is asked again. Raises NoService when none is named.
        """
        self._connection = Connection(find_address(url, key, Path(home) if home else None), patience=patience)
        self.admin = Administration(self._connection, self._pages)

    @property
    def url(self) -> str:
        return self._connection.address.url

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- making jobs

    def submit(
        self, kind: str, *, idempotency_key: str | None = None, dry_run: bool = False, reuse: bool = False, **spec: Any
    ) -> Job:
        """A new job of that kind; with `dry_run`, the validated spec and its estimated cost instead, and no job.

        reuse: answer with a finished job of the same content if there is one. Raises ServiceError naming the field at fault.
        """
        if kind not in ROUTES:
            raise ValueError(f"no kind of job is called {kind!r}; there are {', '.join(ROUTES)}")
        return self._post_once(
            ROUTES[kind], json=spec, key=idempotency_key, params={"dry_run": dry_run or None, "reuse": reuse or None}
        )

    def calibrate(self, model: str, **spec: Any) -> Job:
        """A job that finds a registered model's massive dimensions; `spec`: prompts, layers, rule, max_new_tokens, name, tags."""
        return self.submit("calibrate", model=model, **spec)

    def extract(self, model: str, trait: str, **spec: Any) -> Job:
        """A job that turns a trait into vectors; `spec`: methods, positions, components, layers, calibration, controls, name, tags."""
        return self.submit("extract", model=model, trait=trait, **spec)

    def steer(self, model: str, trait: str, **spec: Any) -> Job:
        """A job that searches doses and reports gains; `spec`: vectors or extraction, methods, layers, budget, judge, name, tags."""
        return self.submit("steer", model=model, trait=trait, **spec)

    def generate(self, model: str, prompts: list[str], *, wait: float = 120, **spec: Any) -> list[dict[str, Any]]:
        """Answers to a few prompts, unsteered and under `vectors` (ids) at `doses` or `coefficients`; waits for them, at most so long."""
        job = self.submit("generate", model=model, prompts=[{"prompt": one} for one in prompts], **spec)
        self.wait(job, timeout=wait)
        return list(self._get(f"/v1/generations/{id_of(job)}")["answers"])

    def study(self, models: list[str], traits: list[str], **spec: Any) -> Job:
        """The Job at the end of a study's graph; `spec`: methods, layers, evidence, budget, judge, name, tags."""
        return self.submit("study", models=models, traits=traits, **spec)

    def label(self, study: str, labels: Mapping[str, float]) -> Job:
        """The Job that writes a study's report again with a person's labels (0-100) of the texts in its labelling.csv, by id."""
        return self._post_once(f"/v1/studies/{study}/labels", json={"labels": dict(labels)}, key=None)

    def cancel(self, job: str | Job) -> Job:
        """Asks a job to stop; it is `cancelled` once its device is free. Cancelling what is cancelled already is no error."""
        path = f"/v1/jobs/{id_of(job)}"
        try:
            return dict(self._connection.request("POST", f"{path}/cancel").json())
        except ServiceError as error:
            now = self.job(job) if error.status == 409 else {}
            if now.get("state") in {"cancelled", "cancelling"}:
                return now
            raise

    def retry(self, job: str | Job, *, idempotency_key: str | None = None) -> Job:
        """A new job with the spec of one that failed or was cancelled."""
        return self._post_once(f"/v1/jobs/{id_of(job)}/retry", key=idempotency_key)

    def edit(self, job: str | Job, **changes: Any) -> Job:
        """Changes a job's name, tags, notes, keep or webhook; what is not named stays."""
        return dict(self._connection.request("PATCH", f"/v1/jobs/{id_of(job)}", json=changes).json())

    def share(self, job: str | Job, visibility: str, group: str | None = None) -> Job:
        """Shows something to others: `public`, `group` (one of yours), or `private` again.

        A job with all that it makes (a study takes its jobs along), by its own id or that of its result; a trait; an imported vector.
        """
        name = id_of(job)
        prefix = name.split("_")[0]
        if prefix in RESULTS:
            name = str(self._get(f"{RESULTS[prefix]}/{name}")["job"])
        path = f"{SHARED.get(prefix, '/v1/jobs')}/{name}"
        body = {"visibility": visibility, **({"group": group} if group else {})}
        return dict(self._connection.request("PATCH", path, json=body).json())

    def delete(self, what: str | Job, *, dry_run: bool = False) -> dict[str, Any]:
        """Deletes a finished job with all that it made (by its id or that of its result), an imported vector, or a trait.

        Says what went, what stays and why, and how many bytes; with `dry_run` nothing goes. ServiceError 409 names what still uses it.
        """
        name = id_of(what)
        prefix = name.split("_")[0] if ID.fullmatch(name) else "trait"
        path = f"{SHARED.get(prefix, '/v1/jobs')}/{name}"
        params = {"dry_run": dry_run or None}
        return dict(self._connection.request("DELETE", path, params=params, repeatable=dry_run).json())

    # -- following jobs

    def job(self, job: str | Job) -> Job:
        """The job as it is now."""
        return self._get(f"/v1/jobs/{id_of(job)}")

    def wait(
        self,
        job: str | Job,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """The job once it is over. `on_change(job)` sees every change; restarts of the service are waited out.

        Raises WaitTimeout after `timeout` seconds and, unless `check` is False, JobFailed when it did not succeed.
        """
        finished = following.wait_until_over(self._connection, id_of(job), timeout=timeout, on_change=on_change)
        if check and finished["state"] != "succeeded":
            raise JobFailed(finished)
        return finished

    def events(self, job: str | Job, after: int = 0) -> Iterator[dict[str, Any]]:
        """Every event past number `after`, as it comes, until the job is over."""
        return following.events(self._connection, id_of(job), after=after)

    def jobs(self, *, limit: int | None = None, **filters: Any) -> Iterator[Job]:
        """Jobs, newest first, at most `limit`, fetched page by page; filters as in the API."""
        yield from self._pages("/v1/jobs", filters, limit)

    # -- results

    def calibration(self, calibration: str) -> dict[str, Any]:
        """calibration.json of a calibration (`cal_...`), or of the job that made it (`job_...`)."""
        return self._get(f"/v1/calibrations/{calibration}/calibration.json")

    def calibrations(self, *, limit: int | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """Calibrations, newest first; filters: model, experiment, model_variant."""
        yield from self._pages("/v1/calibrations", filters, limit)

    def extractions(self, *, limit: int | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """Extractions, newest first, without their vectors; filters: model, trait, experiment, model_variant."""
        yield from self._pages("/v1/extractions", filters, limit)

    def vectors(self, *, limit: int | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """Vectors by model, trait, method, layer, position, component, source, extraction; sort by a separation metric."""
        yield from self._pages("/v1/vectors", filters, limit)

    def tables(self, study: str) -> dict[str, Any]:
        """tables.json of a study (`std_...`) or of its Job."""
        return self._get(f"/v1/studies/{study}/tables.json")

    def nodes(self, study: str) -> dict[str, Any]:
        """The jobs of a study's graph by name, as they stand: job, kind, model, trait, state."""
        return dict(self._get(f"/v1/studies/{study}")["nodes"])

    def job_of(self, which: str) -> str:
        """The job's id, of a job or of a result of any kind (`cal_...`, `ext_...`, `str_...`, `std_...`)."""
        route = RESULTS.get(which.partition("_")[0])
        return which if route is None else str(self._get(f"{route}/{which}")["job"])

    def download(self, source: str | dict[str, Any], to: str | Path = "./") -> Path:
        """One file to a path or into a folder; `source`: an artifact of a job, or a path of the API. Resumed and checked."""
        return downloads.download(self._connection, source, to)

    def download_all(self, job: str | Job, to: str | Path = "./") -> list[Path]:
        """Every artifact of a job, into a folder."""
        Path(to).mkdir(parents=True, exist_ok=True)
        return [self.download(artifact, to) for artifact in self.job(job)["artifacts"]]

    def place_calibration(self, which: str, to: str | Path = "./", **folders: str | None) -> Path:
        """calibration.json at its place in trait-interp's folders below `to`; folders: experiment, model_variant, else as the file says.

        Raises BinnacleError for a job of another kind and when another file is there.
        """
        return downloads.place_calibration(self._connection, self.job(self.job_of(which)), Path(to), **folders)

    # -- traits and vectors

    def traits(self, **filters: Any) -> list[dict[str, Any]]:
        """Every version of every trait you may use, newest first; filters: name, owner."""
        return list(self._pages("/v1/traits", filters, None))

    def trait(self, reference: str) -> dict[str, Any]:
        """One trait by name, name@version or id: its counts, what was filled in, its versions."""
        return self._get(f"/v1/traits/{reference}")

    def trait_dataset(self, reference: str) -> dict[str, Any]:
        """The dataset as jobs read it."""
        return self._get(f"/v1/traits/{reference}/dataset.json")

    def add_trait(
        self,
        source: str | Path | dict[str, Any],
        name: str | None = None,
        *,
        visibility: str | None = None,
        group: str | None = None,
    ) -> dict[str, Any]:
        """Uploads a folder (trait-interp's files; its own name unless `name`) or a dataset. The same content again makes nothing new."""
        shown = {"visibility": visibility, "group": group}
        if isinstance(source, dict):
            body = {**source, **{key: value for key, value in {"name": name, **shown}.items() if value is not None}}
            return dict(self._connection.request("POST", "/v1/traits", json=body).json())
        folder = Path(source).resolve()
        return uploads.upload_trait(self._connection, folder, {"name": name or folder.name, **shown})

    def import_vectors(self, file: str | Path, model: str, **fields: Any) -> list[dict[str, Any]]:
        """Uploads a safetensors, .npy or GGUF file of vectors; fields as in the API: layers, component, position, method, trait, name."""
        return uploads.upload_vectors(self._connection, Path(file), {"model": model, **fields})

    def export(self, result: str, format: str, **chosen: Any) -> Job:  # noqa: A002 - the API's own word
        """A job that writes an extraction as `trait-interp`, `pt`, `gguf` or `npy`; chosen: methods, layers, positions, components.

        Or a calibration (`cal_...`) in trait-interp's folders; `beside`: further calibrations."""
        route = RESULTS.get(result.partition("_")[0], RESULTS["ext"])
        return self._post_once(f"{route}/{result}/exports", json={"format": format, **chosen})

    # -- models and the service

    def models(self) -> list[dict[str, Any]]:
        """The models that jobs may name."""
        return list(self._pages("/v1/models", {}, None))

    def model(self, name: str) -> dict[str, Any]:
        """One model: its state, its facts, and its fault if inspecting it found one."""
        return self._get(f"/v1/models/{name}")

    def await_model(self, name: str, timeout: float | None = 600) -> dict[str, Any]:
        """The model once it is inspected and proved: `ready`, or `faulty` with the fault."""
        model = self.model(name)
        job = model.get("prove_job") or model["inspect_job"]
        if model["state"] in ("inspecting", "proving") and job:
            self.wait(job, timeout, check=False)
            model = self.model(name)
        return model

    def add_model(self, name: str, source: str, *, revision: str | None = None) -> Job:
        """Registers a folder on the workers, or a hub id with its pinned revision: the job that inspects it; one that proves it follows.

        Administrators only.
        """
        body = {"name": name, "source": source, **({"revision": revision} if revision else {})}
        return dict(self._connection.request("POST", "/v1/models", json=body, repeatable=False).json())

    def old_results(self, older_than_days: float) -> dict[str, Any]:
        """The results that retention would remove. Administrators only."""
        return dict(self._connection.request("GET", "/v1/retention", params={"older_than_days": older_than_days}).json())

    def remove_old_results(self, older_than_days: float) -> dict[str, Any]:
        """Removes them. Administrators only."""
        body = {"older_than_days": older_than_days}
        return dict(self._connection.request("POST", "/v1/retention", json=body, timeout=300, repeatable=False).json())

    def webhooks(self) -> list[dict[str, Any]]:
        """The targets that jobs may name in `webhook`."""
        return list(self._get("/v1/webhooks")["items"])

    def add_webhook(self, name: str, url: str, *, private: bool = False) -> dict[str, Any]:
        """Allows a target; the answer's `secret` signs its messages and is shown this once. Administrators only."""
        body = {"name": name, "url": url, "private": private}
        return dict(self._connection.request("POST", "/v1/webhooks", json=body, repeatable=False).json())

    def remove_webhook(self, name: str) -> None:
        """Takes a target off the list. Administrators only."""
        self._connection.request("DELETE", f"/v1/webhooks/{name}")

    def test_webhook(self, name: str) -> dict[str, Any]:
        """A test message's delivery. Administrators only."""
        return dict(self._connection.request("POST", f"/v1/webhooks/{name}/test", repeatable=False).json())

    def deliveries(self, *, limit: int | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """What was sent, newest first; filters: webhook, job, state."""
        yield from self._pages("/v1/deliveries", filters, limit)

    def devices(self) -> list[dict[str, Any]]:
        """Worker nodes, with who holds them and why they claim nothing."""
        return list(self._get("/v1/devices")["items"])

    def hold_device(
        self, device: str, mode: str = "pause", *, reason: str | None = None, minutes: float | None = None
    ) -> dict[str, Any]:
        """Takes a device from the queue: `pause` (its job is finished) or `drain` (its job goes back). Administrators only."""
        body = {"reason": reason, "minutes": minutes}
        return dict(self._connection.request("POST", f"/v1/devices/{device}/{mode}", json=body).json())

    def resume_device(self, device: str) -> dict[str, Any]:
        """Gives a held device back to the queue. Administrators only."""
        return dict(self._connection.request("POST", f"/v1/devices/{device}/resume").json())

    def quotas(self) -> dict[str, Any]:
        """Everybody's quota and those of single users. Administrators only."""
        return self._get("/v1/quotas")

    def quota(self, user: str) -> dict[str, Any]:
        """What a user may have: you, or anybody for administrators."""
        return self._get(f"/v1/quotas/{user}")

    def set_quota(self, user: str | None = None, **limits: int | str | None) -> dict[str, Any]:
        """Sets a user's quota (None: everybody's) as a whole: max_queued, max_running, device_seconds_per_day, stored_bytes.

        A number or "unlimited"; what is left out is as everybody's quota says. Administrators only.
        """
        return dict(self._connection.request("PUT", _quota(user), json=limits).json())

    def remove_quota(self, user: str) -> None:
        """Gives a user everybody's quota again. Administrators only."""
        self._connection.request("DELETE", _quota(user), repeatable=False)

    def usage(self, user: str | None = None, days: int = 30) -> dict[str, Any]:
        """Disk and device time by user and day: your own, or everybody's for administrators."""
        return dict(self._connection.request("GET", "/v1/usage", params={"user": user, "days": days}).json())

    def me(self) -> dict[str, Any]:
        """Whom the service takes you for: owner, role, what the key may do, groups."""
        return self._get("/v1/me")

    def status(self) -> dict[str, Any]:
        """Workers, devices, queue and loaded models."""
        return self._get("/v1/status")

    # -- plumbing

    def _get(self, path: str) -> dict[str, Any]:
        return dict(self._connection.request("GET", path).json())

    def _post_once(self, path: str, *, json: Any = None, key: str | None = None, params: dict[str, Any] | None = None) -> Job:
        headers = {"Idempotency-Key": key or secrets.token_urlsafe(16)}
        attempts = Attempts(self._connection.patience)
        while True:
            try:
                return dict(self._connection.request("POST", path, json=json, headers=headers, params=params).json())
            except ServiceError as error:  # busy: our own earlier attempt has not committed yet
                if error.code != "idempotency_key_busy" or not attempts.pause():
                    raise

    def _pages(self, path: str, filters: dict[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            page = self._connection.request("GET", path, params={**filters, "cursor": cursor, "limit": _page_size(left)}).json()
            yield from page["items"][:left]
            cursor = page.get("next_cursor")
            left = None if left is None else left - len(page["items"])
            if cursor is None:
                return


def _quota(user: str | None) -> str:
    return "/v1/quotas" if user is None else f"/v1/quotas/{user}"


def _page_size(left: int | None) -> int | None:
    return min(left, 100) if left is not None else None
