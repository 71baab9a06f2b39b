"""Stores an extraction, as its job would leave it, in a test's own database and storage."""

from sqlalchemy.orm import Session, sessionmaker

from app.extractions.models import Extraction, Vector
from app.ids import new_id
from app.jobs import service as jobs
from app.jobs.models import Artifact
from app.jobs.states import State
from app.jobs.submission import Submission
from app.models.models import Model
from app.storage.base import Storage
from app.storage.blobs import reference_lock, stage
from tests.api.conftest import FACTS, ada, admin, api, engine, sessions, settings, standing
from tests.exports.made import LAYERS, METHODS, POSITIONS, extraction, keys
from tests.worker.conftest import live, make_service

__all__ = ["ada", "admin", "api", "engine", "live", "make_service", "sessions", "settings", "standing"]


def store_extraction(sessions: sessionmaker[Session], storage: Storage, owner: str = "ada") -> tuple[str, str]:
    """Returns the extraction's id and its job's. The job is of another kind: an export reads only the files and rows."""
    blobs = {name: stage(sessions, storage, data) for (_, name), data in extraction().items()}
    with sessions.begin() as session:
        if session.get(Model, "demo") is None:
            session.add(Model(name="demo", source="/m", state="ready", facts=FACTS, created_by="admin"))
            session.flush()
        job = jobs.submit(
            session, Submission(kind="inspect", spec={"made": new_id("x")}, owner=owner, job_class="model", model="demo")
        ).job
        job.state = State.SUCCEEDED
        row = Extraction(
            id=new_id("ext"), job_id=job.id, owner=owner, model="demo", weight_hash="a" * 64, reading_hash="d" * 64, trait="refusal",
            trait_version="b" * 64, positions=POSITIONS, components=["residual", "k_proj"], layers=LAYERS, methods=METHODS, summary={},
        )  # fmt: skip
        session.add(row)
        for name, blob in blobs.items():
            reference_lock(session, blob)
            session.add(
                Artifact(id=new_id("art"), job_id=job.id, name=name, digest=blob.digest, size=blob.size, media_type="x/y")
            )
        session.flush()
        for position, component, method, layer in keys() + keys("k_proj"):
            session.add(
                Vector(
                    id=new_id("vec"),
                    source="extracted",
                    extraction_id=row.id,
                    owner=owner,
                    model="demo",
                    trait="refusal",
                    position=position,
                    component=component,
                    method=method,
                    layer=layer,
                    width=8,
                    digest=blobs["vectors.safetensors"].digest,
                    key=f"{position}/{component}/{method}/{layer}",
                    facts={},
                )
            )
        return row.id, job.id
