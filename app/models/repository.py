"""Database statements for models."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.devices.models import Worker
from app.jobs.models import Job
from app.jobs.states import FINISHED, HELD, State
from app.judges.models import Judge
from app.models.models import Model, Passport
from terms.documents.passport import PassportDocument, ProvedContent
from terms.values import JsonObject


def find(session: Session, name: str, *, lock: bool = False) -> Model | None:
    """The model of that name, also when it was removed; `lock` keeps others from changing it until the transaction ends."""
    model = session.get(Model, name, with_for_update=lock)
    session.info.setdefault("models", set()).add(
        model
    )  # a session holds what it has read weakly, and a submission asks several times
    return model


def listed(session: Session, name: str, *, lock: bool = False) -> Model | None:
    """The model of that name, unless it was removed."""
    model = find(session, name, lock=lock)
    return None if model is None or model.removed_at is not None else model


def names(session: Session) -> Sequence[str]:
    """The names that a submission may use: all but those whose files are at fault."""
    return session.scalars(
        select(Model.name).where(Model.state != "faulty", Model.removed_at.is_(None)).order_by(Model.name)
    ).all()


def listing(session: Session, *, limit: int, after: str | None) -> Sequence[Model]:
    """A page by name; `after` is the last name of the previous page."""
    statement = select(Model).where(Model.removed_at.is_(None)).order_by(Model.name).limit(limit)
    return session.scalars(statement if after is None else statement.where(Model.name > after)).all()


def model_workers(session: Session) -> Sequence[Worker]:
    """The worker nodes that load models, as they last described themselves when this session first asked."""
    if "model_workers" not in session.info:
        session.info["model_workers"] = session.scalars(
            select(Worker).where(Worker.job_class == "model").order_by(Worker.id)
        ).all()
    found: Sequence[Worker] = session.info["model_workers"]
    return found


def unfinished_jobs(session: Session, name: str) -> Sequence[str]:
    """Jobs that have not ended and name the model: to calculate with, or as a judge."""
    judge = {"kind": "local", "model": name}
    loads = or_(Job.model == name, Job.spec.contains({"judge": judge}), Job.spec.contains({"vetting": {"judge": judge}}))
    return session.scalars(select(Job.id).where(loads, Job.state.not_in(list(FINISHED))).order_by(Job.id)).all()


def judges(session: Session, name: str) -> Sequence[str]:
    """Judges that are this model."""
    return session.scalars(select(Judge.name).where(Judge.kind == "local", Judge.model == name).order_by(Judge.name)).all()


def put(session: Session, name: str, source: str, revision: str | None, created_by: str) -> bool:
    """A new row, or that of a removed model anew; False when the name is taken."""
    row = {"source": source, "revision": revision, "created_by": created_by}
    anew: JsonObject = {
        **row,
        "state": "inspecting",
        "facts": {},
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
    """The models of these names, removed ones among them."""
    return {model.name: model for model in session.scalars(select(Model).where(Model.name.in_(sorted(set(names)))))}


def passport(session: Session, key: str) -> Passport | None:
    """The passport kept under this key."""
    return session.get(Passport, key)


def passports(session: Session, keys: Collection[str]) -> dict[str, Passport]:
    """The passports kept under these keys."""
    return {one.key: one for one in session.scalars(select(Passport).where(Passport.key.in_(sorted(set(keys)))))}


def keep_passport(session: Session, key: str, content: ProvedContent, passport: PassportDocument) -> None:
    """Keeps it, unless the same content has passed before: others are usable by that."""
    row = {
        "content": dict(content),
        "outcome": passport["outcome"],
        "reading_hash": passport["reading_hash"] or None,
        "passport": dict(passport),
    }
    statement = insert(Passport).values(key=key, **row)
    statement = statement.on_conflict_do_update(index_elements=["key"], set_=row, where=Passport.outcome == "refused")
    session.execute(statement, execution_options={"populate_existing": True})


def unproven(session: Session, programs: Mapping[str, int | str]) -> str | None:
    """The first usable model without a passport of these programs, unless a model is being proved; None when there is none.

    A model that was tried with these programs since its inspection is left alone.
    """
    proof = Job.kind == "prove"
    tried = select(Job.id).where(
        proof, Job.model == Model.name, Job.spec["programs"] == dict(programs), Job.id > func.coalesce(Model.inspect_job, "")
    )
    old = or_(Passport.key.is_(None), Passport.content["programs"] != dict(programs))
    statement = select(Model.name).outerjoin(Passport, Passport.key == Model.passport)
    statement = statement.where(Model.state == "ready", Model.removed_at.is_(None), old, ~tried.exists())
    found = session.scalar(statement.order_by(Model.name).limit(1))
    if found is None:
        return None
    under_way = select(Job.id).where(proof, or_(Job.state == State.QUEUED, Job.state.in_(list(HELD))))
    return None if session.scalar(select(under_way.exists())) else found
