"""Adds, inspects, removes and finds models. Functions run in the caller's transaction and raise Problem for invalid requests."""

import re
from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.devices.models import Worker
from app.errors import Problem, as_error, invalid, not_found
from app.jobs import service as jobs
from app.jobs.models import Job
from app.jobs.schemas import Edge, JobOut
from app.jobs.submission import Asker, Submission
from app.jobs.views import view as job_view
from app.models import fitting, proving, repository
from app.models.models import Model, Passport
from app.models.schemas import ModelOut, ModelRequest, ProofOut
from app.text import check_text
from terms.documents.passport import ProvedContent
from terms.specs import DownloadSpec, ModelSpec

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
DAY = 86_400.0
NAMED = 20
"""Most models that an error lists."""


def register(session: Session, asker: Asker, request: ModelRequest) -> JobOut:
    """Adds the model to the allow-list and submits the job that inspects it.

    Raises Problem 422 for a source that is neither a folder nor a pinned hub model, 409 when the name is taken.
    """
    check_text(request.model_dump())
    _check_source(request)
    if not repository.put(session, request.name, request.source, request.revision, asker.viewer.owner):
        detail = (
            f"A model {request.name} is already registered. To inspect it again, POST "
            f"/v1/models/{request.name}/inspect; to register another source, choose another name."
        )
        raise Problem(409, "model_exists", detail)
    audit.record(session, asker.viewer, "model.register", request.name, source=request.source, revision=request.revision)
    return _inspected(session, asker, request.name)


def _check_source(request: ModelRequest) -> None:
    if request.source.startswith("/"):
        if request.revision is not None:
            raise invalid(
                "/revision", "revision_of_a_folder", "/source is a folder, and folders have no revision: leave /revision out."
            )
    elif HUB_ID.fullmatch(request.source) is None:
        detail = "/source must be a folder's absolute path (/models/x) or a hub id (owner/name)."
        raise invalid("/source", "invalid_source", detail)
    elif request.revision is None:
        detail = f"/revision is missing: {request.source} is a hub model. Give the 40 digits of a commit."
        raise invalid("/revision", "revision_missing", detail)


def inspect(session: Session, asker: Asker, name: str) -> JobOut:
    """Submits a job that inspects the model's files again, after a download of files missing from a hub model.

    Until it has ended, jobs that name the model wait for it. Raises Problem 404, and 409 while an inspection or its proofs have not ended:
    jobs wait for these.
    """
    audit.record(session, asker.viewer, "model.inspect", name)
    return _inspected(session, asker, name)


def _inspected(session: Session, asker: Asker, name: str) -> JobOut:
    owner, request_id = asker.viewer.owner, asker.request_id
    model = repository.listed(session, name, lock=True)
    if model is None:
        raise not_found("model", name)
    unfinished = repository.inspecting_job(session, name)
    if unfinished is not None:
        detail = (
            f"{name} is being inspected, and jobs may wait for {unfinished}. Wait until it has ended, or cancel it "
            f"(POST /v1/jobs/{unfinished}/cancel). Then inspect the model again."
        )
        raise Problem(409, "model_being_inspected", detail, facts={"job": unfinished})
    after = []
    if model.revision is not None:
        download: DownloadSpec = {"kind": "download", "model": model.name, "source": model.source, "revision": model.revision}
        after = [Edge(job=_job(session, download, owner, request_id).id)]
    job = look_again(session, model, owner=owner, request_id=request_id, after=after)
    return job_view(session, job, asker.viewer, slice_seconds=asker.settings.lease.slice)


def look_again(
    session: Session, model: Model, *, owner: str, request_id: str | None, after: Sequence[Edge] = (), own: bool = False
) -> Job:
    """Submits a job that inspects the model and a job that proves it; jobs that name the model wait for both."""
    spec: ModelSpec = {"kind": "inspect", "model": model.name, "source": model.source, "revision": model.revision}
    job = _job(session, spec, owner, request_id, after, own=own)
    model.state, model.proving, model.inspect_job = "inspecting", False, job.id
    proving.submit(session, model, owner, request_id, after=[Edge(job=job.id)], own=own)
    return job


def _job(
    session: Session,
    spec: DownloadSpec | ModelSpec,
    owner: str,
    request_id: str | None,
    after: Sequence[Edge] = (),
    *,
    own: bool = False,
) -> Job:
    submission = Submission(
        kind=spec["kind"], spec=spec, owner=owner, model=spec["model"], job_class="light", request_id=request_id, after=after,
        max_seconds=DAY, sharing=Sharing(visibility="public"), unmetered=own,
    )  # fmt: skip
    return jobs.submit(session, submission).job


def delete(session: Session, name: str, viewer: Viewer) -> None:
    """Removes the model from the list. Its files, results and facts stay, and it may be added again.

    Raises Problem 404, and 409 while unfinished jobs or judges need the model.
    """
    model = repository.listed(session, name, lock=True)
    if model is None:
        raise not_found("model", name)
    _check_unused(name, "Unfinished jobs use it", repository.unfinished_jobs(session, name), "Cancel them or wait")
    _check_unused(name, "These judges use it", repository.judges(session, name), "Delete them first (DELETE /v1/judges/NAME)")
    model.removed_at = func.now()
    session.flush()
    audit.record(session, viewer, "model.delete", name, source=model.source, revision=model.revision)


def _check_unused(name: str, what: str, users: Sequence[str], remedy: str) -> None:
    if users:
        more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
        detail = f"{name} cannot be removed. {what}: {', '.join(users[:NAMED])}{more}. {remedy}, then try again."
        raise Problem(409, "model_in_use", detail, facts={"used_by": list(users[:NAMED])})


def usable(session: Session, name: str) -> Model:
    """Returns the model that a submission names. Raises Problem 422 when it is not registered or its files have a fault."""
    model = repository.listed(session, name)
    if model is None:
        names = repository.names(session)
        more = f" and {len(names) - NAMED} more (GET /v1/models)" if len(names) > NAMED else ""
        allowed = f"This server allows: {', '.join(names[:NAMED])}{more}." if names else "None is registered yet."
        detail = f"No model is called {name!r}. {allowed}"
        raise invalid("/model", "unknown_model", detail)
    if model.state == "faulty":
        fault = as_error("faulty", "") if model.fault is None else model.fault
        detail = f"{name} cannot be used: {fault.get('code', 'faulty')}: {fault.get('detail', '')}"
        if "retry" not in fault.get("facts", {}):  # proofs that did not end say nothing of the files
            detail += f" Once its files are corrected, an administrator can inspect it again: POST /v1/models/{name}/inspect."
        raise invalid("/model", "faulty_model", detail)
    return model


def find(session: Session, name: str) -> ModelOut:
    """Returns a model. Raises Problem 404."""
    model = repository.find(session, name)
    if model is None:
        raise not_found("model", name)
    return _views(session, [model])[0]


def listing(session: Session, *, limit: int, after: str | None) -> Sequence[ModelOut]:
    """Returns a page of models, by name."""
    return _views(session, repository.listing(session, limit=limit, after=after))


def _views(session: Session, models: Sequence[Model]) -> list[ModelOut]:
    workers, passports = repository.model_workers(session), proving.current(session, models)
    return [view(model, workers, passports.get(model.passport or "")) for model in models]


def view(model: Model, workers: Sequence[Worker], passport: Passport | None) -> ModelOut:
    """Returns the model as the API shows it, with its proofs and whether it fits these workers."""
    links = {"self": f"/v1/models/{model.name}", "calibrations": f"/v1/calibrations?model={model.name}"}
    for name in ("inspect_job", "prove_job"):
        if (job := getattr(model, name)) is not None:
            links[name] = f"/v1/jobs/{job}"
    known = model.inspected and "n_parameters" in model.facts
    made = {
        "state": "proving" if model.proving else model.state,
        "weights_bytes": fitting.sizes(model.facts["n_parameters"]) if known else None,
        "fits": fitting.fits(model.facts, workers) if known else None,
        "outcome": "unproven" if passport is None else passport.outcome,
        "proofs": [] if passport is None else [ProofOut.model_validate(proof) for proof in passport.passport["proofs"]],
        "proved_with": None if passport is None else _proved_with(passport.content),
    }
    own = {name: getattr(model, name) for name in ModelOut.model_fields if name not in {"links", *made}}
    return ModelOut(**own, **made, links=links)


def _proved_with(content: ProvedContent) -> dict[str, int | str]:
    return {**content["programs"], "dtype": content["dtype"], "device": content["device"]}
