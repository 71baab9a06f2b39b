"""Stores a finished `steer` or `rescore` job: a row by which the steering is found."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.ids import new_id
from app.jobs.kinds import Kind, Usable
from app.jobs.models import Job
from app.jobs.repository import made_by_visible
from app.jobs.specs import scored_spec
from app.steerings.models import Steering
from terms.documents.outcomes import SteeringOutcome


def _usable(viewer: Viewer) -> ColumnElement[bool]:
    return made_by_visible(Steering.job_id, viewer)


class Steer(Kind[SteeringOutcome]):
    """The kind `steer`; its row makes the steering searchable."""

    name = "steer"
    handler_version = 4
    measures = True

    def record(self, session: Session, job: Job, outcome: SteeringOutcome) -> SteeringOutcome:
        steering, spec = outcome["steering"], scored_spec(job)
        assert job.model is not None
        row = Steering(
            id=new_id("str"),
            job_id=job.id,
            owner=job.owner,
            model=job.model,
            weight_hash=steering["weight_hash"],
            reading_hash=steering.get("reading_hash"),
            trait=spec["trait"]["name"],
            trait_version=spec["trait"]["version"],
            judge=steering["judge"],
            rescore_of=spec.get("steering"),
            summary=steering["summary"],
        )
        session.add(row)
        session.flush()
        return {"steering": {"id": row.id, **steering}}

    def links(self, job: Job) -> dict[str, str]:
        own = f"/v1/steerings/{self.result(job)['steering']['id']}"
        return {"result": own, "runs": f"{own}/runs", "responses": f"{own}/responses"}

    def usable(self) -> Mapping[str, Usable]:
        return {"str": (Steering.id, _usable)}


class Rescore(Steer):
    """The kind `rescore`; it also produces a steering, of the same texts."""

    name = "rescore"
    handler_version = 3
    inherited = ("trait", "extraction", "model")

    def usable(self) -> Mapping[str, Usable]:
        return {}  # the ids of both kinds begin with str, and STEER answers for them


STEER = Steer()
RESCORE = Rescore()
