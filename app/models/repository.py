"""Database statements for models."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.devices.models import Worker
from app.devices.repository import GONE_SECONDS, SILENT
from app.jobs.models import Job
from app.jobs.states import FINISHED, HELD, State
from app.judges.models import Judge
from app.models.models import Model, Passport
from terms.documents.model import ModelFactsDocument
from terms.documents.passport import PassportDocument, ProvedContent


def find(session: Session, name: str, *, lock: bool = False) -> Model | None:
    """Returns the model with this name, including a removed one; `lock` prevents changes by others until the transaction ends."""
    model = session.get(Model, name, with_for_update=lock)
    # a session refers to a row only weakly, and a submission reads it several times
    session.info.setdefault("models", set()).add(model)
    return model


def listed(session: Session, name: str, *, lock: bool = False) -> Model | None:
    """Returns the model with this name unless it was removed."""
    model = find(session, name, lock=lock)
    return None if model is None or model.removed_at is not None else model


def names(session: Session) -> Sequence[str]:
    """Returns the names that a submission may use: all models without a fault in their files."""
    return session.scalars(
        select(Model.name).where(Model.state != "faulty", Model.removed_at.is_(None)).order_by(Model.name)
    ).all()


def listing(session: Session, *, limit: int, after: str | None) -> Sequence[Model]:
    """Returns a page of models by name; `after` is the last name of the previous page."""
    statement = select(Model).where(Model.removed_at.is_(None)).order_by(Model.name).limit(limit)
    return session.scalars(statement if after is None else statement.where(Model.name > after)).all()


_MODEL_WORKERS = select(Worker).where(Worker.job_class == "model", SILENT < GONE_SECONDS).order_by(Worker.id)


def model_workers(session: Session) -> Sequence[Worker]:
    """Returns the worker nodes that load models, without those on hosts that are gone for good, as read once per session."""
    if "model_workers" not in session.info:
        session.info["model_workers"] = session.scalars(_MODEL_WORKERS).all()
    workers: Sequence[Worker] = session.info["model_workers"]
    return workers


def unfinished_jobs(session: Session, name: str) -> Sequence[str]:
    """Returns the unfinished jobs that use the model, for the calculation or as a judge."""
    judge = {"kind": "local", "model": name}
    loads = or_(Job.model == name, Job.spec.contains({"judge": judge}), Job.spec.contains({"vetting": {"judge": judge}}))
    return session.scalars(select(Job.id).where(loads, Job.state.not_in(list(FINISHED))).order_by(Job.id)).all()


def inspecting_job(session: Session, name: str) -> str | None:
    """Returns an unfinished job that inspects the model, or else one that proves it for jobs that wait; None if there is neither."""
    awaited = or_(Job.kind == "inspect", (Job.kind == "prove") & Job.spec["programs"].astext.is_(None))
    statement = select(Job.id).where(Job.model == name, awaited, Job.state.not_in(list(FINISHED)))
    return session.scalar(statement.order_by(Job.kind, Job.id).limit(1))


def judges(session: Session, name: str) -> Sequence[str]:
    """Returns the judges that use this model."""
    return session.scalars(select(Judge.name).where(Judge.kind == "local", Judge.model == name).order_by(Judge.name)).all()


def put(session: Session, name: str, source: str, revision: str | None, created_by: str) -> bool:
    """Inserts a model, or replaces a removed one; returns False when the name is taken."""
    row = {"source": source, "revision": revision, "created_by": created_by}
    anew = {
        **row,
        "state": "inspecting",
        "facts": ModelFactsDocument(),
        "fault": None,
        "proving": False,
        "passport": None,
        "prove_job": None,
        "created_at": func.now(),
        "removed_at": None,
    }
    statement = insert(Model).values(name=name, **row)
    statement = statement.on_conflict_do_update(index_elements=["name"], set_=anew, where=Model.removed_at.is_not(None))
    return session.scalar(statement.returning(Model.name)) is not None


def named(session: Session, names: Collection[str]) -> dict[str, Model]:
    """Returns the models with these names, including removed ones."""
    return {model.name: model for model in session.scalars(select(Model).where(Model.name.in_(sorted(set(names)))))}


def passport(session: Session, key: str) -> Passport | None:
    """Returns the passport stored under this key."""
    return session.get(Passport, key)


def passports(session: Session, keys: Collection[str]) -> dict[str, Passport]:
    """Returns the passports stored under these keys, by key."""
    return {row.key: row for row in session.scalars(select(Passport).where(Passport.key.in_(sorted(set(keys)))))}


def keep_passport(session: Session, key: str, content: ProvedContent, passport: PassportDocument) -> bool:
    """Stores a passport, except over one of the same content that is not a refusal, which other models rely on; returns whether it did."""
    row = {
        "content": dict(content),
        "outcome": passport["outcome"],
        "reading_hash": passport["reading_hash"] or None,
        "passport": dict(passport),
    }
    statement = insert(Passport).values(key=key, **row)
    anew = {**row, "created_at": func.now()}
    statement = statement.on_conflict_do_update(index_elements=["key"], set_=anew, where=Passport.outcome == "refused")
    return session.scalar(statement.returning(Passport.key)) is not None


def unproven(session: Session, programs: Mapping[str, int | str]) -> str | None:
    """Returns the first usable model without a passport of these programs; None if there is none, or while any model is being proved.

    Skips models that were tried with these programs since their inspection.
    """
    proof = Job.kind == "prove"
    tried = select(Job.id).where(
        proof, Job.model == Model.name, Job.spec["programs"] == dict(programs), Job.id > func.coalesce(Model.inspect_job, "")
    )
    old = or_(Passport.key.is_(None), Passport.content["programs"] != dict(programs))
    statement = select(Model.name).outerjoin(Passport, Passport.key == Model.passport)
    statement = statement.where(Model.state == "ready", Model.removed_at.is_(None), old, ~tried.exists())
    name = session.scalar(statement.order_by(Model.name).limit(1))
    if name is None:
        return None
    under_way = select(Job.id).where(proof, or_(Job.state == State.QUEUED, Job.state.in_(list(HELD))))
    return None if session.scalar(select(under_way.exists())) else name
