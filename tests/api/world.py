"""The callers and objects of the authorization matrix: each kind of caller, and an object of each kind at each visibility."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.auth import repository
from app.auth.keys import new_key
from app.auth.models import ApiKey, User
from app.auth.viewer import SCOPES
from app.auth.visibility import Visibility
from app.calibrations.models import Calibration
from app.devices.models import Worker
from app.extractions.models import Extraction, Vector
from app.ids import new_id
from app.jobs import service as jobs
from app.jobs.models import Artifact, Job
from app.jobs.states import State
from app.judges.models import Judge
from app.steerings.models import Steering
from app.storage.blobs import reference_lock, stage
from app.studies.models import Study
from app.traits.models import Trait
from app.webhooks.models import WebhookTarget
from tests.api.conftest import PEPPER, Running
from tests.exports.conftest import store_extraction

OWNER, GROUP = "olga", "interp"
VISIBILITIES: tuple[Visibility, ...] = ("private", "group", "public")
SPEC = {
    "model": "demo",
    "weight_hash": "a" * 64,
    "reading_hash": "d" * 64,
    "trait": None,
    "extraction": None,
    "seed": 0,
    "coherence_threshold": 70,
}
_numbers = itertools.count()


@dataclass(frozen=True)
class Caller:
    """A user with a key, and what the key may do, stated independently of the service."""

    name: str
    owner: str
    role: str = "member"
    scopes: frozenset[str] = SCOPES
    colleague: bool = False
    alive: bool = True

    @property
    def submits(self) -> bool:
        return self.role != "viewer" and "submit" in self.scopes

    @property
    def administers(self) -> bool:
        return self.role == "admin" and "admin" in self.scopes

    def sees(self, visibility: Visibility) -> bool:
        shared = visibility == "public" or (visibility == "group" and self.colleague)
        return self.administers or self.owner == OWNER or shared

    @property
    def manages(self) -> bool:
        return self.administers or self.owner == OWNER


READ, NO_ADMIN = frozenset({"read"}), frozenset({"read", "submit"})
CALLERS = (
    Caller("the owner", OWNER, colleague=True),
    Caller("the owner with a key that reads", OWNER, scopes=READ, colleague=True),
    Caller("the owner as a viewer", OWNER, "viewer", colleague=True),
    Caller("a colleague", "carl", colleague=True),
    Caller("a colleague who only views", "vera", "viewer", colleague=True),
    Caller("a stranger", "sam"),
    Caller("a stranger who only views", "eve", "viewer"),
    Caller("an administrator", "root", "admin"),
    Caller("an administrator with a key that reads", "rita", "admin", scopes=READ),
    Caller("an administrator with a key that submits", "ruth", "admin", scopes=NO_ADMIN),
    Caller("an administrator without a key that submits", "remy", "admin", scopes=frozenset({"read", "admin"})),
    Caller("a disabled colleague", "dora", colleague=True, alive=False),
    Caller("a disabled administrator", "dina", "admin", alive=False),
    Caller("an owner whose key was revoked", OWNER, alive=False),
    Caller("an owner whose key has expired", OWNER, alive=False),
)


@dataclass
class World:
    """Objects by kind and visibility, made when first asked for; those that a request uses up are made again each time."""

    api: Running
    keys: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, Visibility], str] = field(default_factory=dict)
    owner: str = OWNER

    def people(self) -> None:
        """Makes the callers, their keys and the group."""
        with self.api.sessions.begin() as session:
            repository.add_group(session, GROUP, "test")
            for caller in CALLERS:
                repository.add_user(session, caller.owner, "test")
                if caller.colleague:
                    repository.add_member(session, GROUP, caller.owner)
                key = new_key(caller.owner, caller.role, PEPPER, scopes=caller.scopes)  # type: ignore[arg-type]
                session.add(key.row)
                self.keys[caller.name] = key.text
                session.flush()
                if "revoked" in caller.name:
                    session.execute(update(ApiKey).where(ApiKey.id == key.row.id).values(revoked_at="2026-01-01T00:00:00Z"))
                if "expired" in caller.name:
                    session.execute(update(ApiKey).where(ApiKey.id == key.row.id).values(expires_at="2026-01-01T00:00:00Z"))
                if "disabled" in caller.name:
                    session.execute(update(User).where(User.name == caller.owner).values(disabled_at="2026-01-01T00:00:00Z"))

    def get(self, kind: str, visibility: Visibility = "private") -> str:
        """The id or name of one of this kind; kinds that begin with `new ` are made at each call."""
        if kind.startswith("new "):
            return self._make(kind.removeprefix("new "), visibility)
        if (kind, visibility) not in self.made:
            self.made[kind, visibility] = self._make(kind, visibility)
        return self.made[kind, visibility]

    def _make(self, kind: str, visibility: Visibility) -> str:
        if kind == "extraction":
            identifier, job = store_extraction(self.api.sessions, self.api.context.storage, owner=self.owner)
            with self.api.sessions.begin() as session:
                self._share(session.get_one(Job, job), visibility)
            return identifier
        blob = stage(self.api.sessions, self.api.context.storage, b"{}\n")
        with self.api.sessions.begin() as session:
            reference_lock(session, blob)
            session.info["digest"] = blob.digest
            made = MAKERS[kind](session, self, visibility)
            session.flush()
            return made

    @staticmethod
    def _share(row: Any, visibility: Visibility) -> None:
        row.visibility, row.group_name = visibility, GROUP if visibility == "group" else None

    def job(self, session: Session, visibility: Visibility, kind: str, state: State, *files: str, **spec: Any) -> Job:
        """Makes a job in this state with these files."""
        submission = jobs.Submission(
            kind=kind, spec={**SPEC, "made": next(_numbers), **spec}, owner=self.owner, job_class="light", model="demo"
        )
        job = jobs.submit(session, submission).job
        job.state = state
        job.result = {"answers": [], "calibration": {"id": "cal_x"}} if state == State.SUCCEEDED else None
        self._share(job, visibility)
        for name in files:
            session.add(
                Artifact(
                    id=new_id("art"), job_id=job.id, name=name, digest=session.info["digest"], size=3, media_type="application/json"
                )
            )  # fmt: skip
        session.flush()
        return job


def _row(session: Session, row: Any) -> str:
    session.add(row)
    return str(row.id)


def _calibration(session: Session, world: World, visibility: Visibility) -> str:
    job = world.job(session, visibility, "calibrate", State.SUCCEEDED, "calibration.json")
    dims = {"rule": "peeling", "dims": []}
    facts = {"severity": {}, "massive_dims": dims, "weight_hash": "a" * 64, "reading_hash": "d" * 64}
    return _row(session, Calibration(id=new_id("cal"), job_id=job.id, owner=world.owner, model="demo", **facts))


def _steering(session: Session, world: World, visibility: Visibility) -> str:
    job = world.job(session, visibility, "steer", State.SUCCEEDED, "summary.json", "runs.jsonl", "responses.jsonl")
    facts = {"weight_hash": "a" * 64, "reading_hash": "d" * 64, "judge": "reference", "summary": {}}
    return _row(session, Steering(id=new_id("str"), job_id=job.id, owner=world.owner, model="demo", **facts))


def _study(state: State) -> Callable[[Session, World, Visibility], str]:
    def make(session: Session, world: World, visibility: Visibility) -> str:
        job = world.job(session, visibility, "report", state, "report.html", nodes={}, study={})
        spec = {"models": ["demo"], "traits": ["refusal"]}
        return _row(session, Study(id=new_id("std"), job_id=job.id, owner=world.owner, spec=spec, nodes={}))

    return make


def _vector(session: Session, world: World, visibility: Visibility) -> str:
    row = Vector(
        id=new_id("vec"), source="imported", owner=world.owner, model="demo", component="residual", method="imported", layer=1, width=64,
        digest=session.info["digest"], key="x", facts={},
    )  # fmt: skip
    world._share(row, visibility)
    return _row(session, row)


def _extracted_vector(session: Session, world: World, visibility: Visibility) -> str:
    extraction = world.get("extraction", visibility)
    found = session.query(Vector.id).filter(Vector.extraction_id == extraction).order_by(Vector.id).first()
    assert found is not None
    return str(found[0])


def _trait(session: Session, world: World, visibility: Visibility) -> str:
    row = Trait(
        id=new_id("trait"),
        name=f"trait{next(_numbers)}",
        version=session.info["digest"],
        owner=world.owner,
        definition="",
        counts={"selection": 40, "test": 40, "clusters": {"test": 40}},
    )
    world._share(row, visibility)
    return _row(session, row)


def _job_in(state: State, kind: str = "calibrate") -> Callable[[Session, World, Visibility], str]:
    return lambda session, world, visibility: world.job(session, visibility, kind, state, "calibration.json").id


def _user(session: Session, _world: World, _visibility: Visibility) -> str:
    name = f"user{next(_numbers)}"
    repository.add_user(session, name, "test")
    return name


def _group(session: Session, _world: World, _visibility: Visibility) -> str:
    name = f"group{next(_numbers)}"
    repository.add_group(session, name, "test")
    return name


def _key(session: Session, world: World, visibility: Visibility) -> str:
    made = new_key(_user(session, world, visibility), "member", PEPPER)
    session.add(made.row)
    return str(made.row.id)


def _model(session: Session, _world: World, _visibility: Visibility) -> str:
    from app.models.models import Model

    name = f"model{next(_numbers)}"
    session.add(Model(name=name, source="/m", state="ready", facts={}, created_by="test"))
    return name


def _judge(session: Session, _world: World, _visibility: Visibility) -> str:
    name = f"judge{next(_numbers)}"
    session.add(Judge(name=name, kind="openai", model="m", url="http://127.0.0.1:9/v1", created_by="test"))
    return name


def _webhook(session: Session, _world: World, _visibility: Visibility) -> str:
    name = f"hook{next(_numbers)}"
    session.add(WebhookTarget(name=name, url="http://127.0.0.1:9/x", salt="0" * 32, created_by="test"))
    return name


def _device(session: Session, _world: World, _visibility: Visibility) -> str:
    name = f"model-{next(_numbers)}@here"
    session.add(Worker(id=name, job_class="model", device="cpu", host="here", parent_pid=1, version="test"))
    return name


MAKERS: dict[str, Callable[[Session, World, Visibility], str]] = {
    "job": _job_in(State.SUCCEEDED),
    "queued job": _job_in(State.QUEUED),
    "failed job": _job_in(State.FAILED),
    "generation": _job_in(State.SUCCEEDED, "generate"),
    "calibration": _calibration,
    "steering": _steering,
    "study": _study(State.SUCCEEDED),
    "failed study": _study(State.FAILED),
    "vector": _vector,
    "extracted vector": _extracted_vector,
    "trait": _trait,
    "user": _user,
    "group": _group,
    "key": _key,
    "model": _model,
    "judge": _judge,
    "webhook": _webhook,
    "device": _device,
}

__all__ = ["CALLERS", "GROUP", "OWNER", "VISIBILITIES", "Caller", "Extraction", "World"]
