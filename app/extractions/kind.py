"""The kind `extract`: stores a finished job as a row for it and one for each vector, and gives its links and the ids that it made."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.extractions.models import Extraction, Vector
from app.extractions.repository import vector_seen
from app.ids import new_id
from app.jobs.kinds import Kind, Usable
from app.jobs.models import Artifact, Job
from app.jobs.repository import made_by_visible
from app.jobs.specs import extraction_spec
from terms.documents.extraction import VectorFacts
from terms.documents.outcomes import ExtractionOutcome
from terms.values import Json


def _columns(facts: VectorFacts) -> dict[str, Json | VectorFacts]:
    separation, massive = facts["separation"], facts["massive"]
    return {
        "id": new_id("vec"), "position": facts["position"], "component": facts["component"], "method": facts["method"],
        "layer": facts["layer"], "width": facts["width"], "key": facts["key"], "norm": facts["norm"],
        "accuracy": separation and separation["accuracy"], "cohens_d": separation and separation["cohens_d"],
        "auroc": separation and separation["auroc"], "massive_share": massive and massive["share"], "facts": facts,
    }  # fmt: skip


def _usable(viewer: Viewer) -> ColumnElement[bool]:
    return made_by_visible(Extraction.job_id, viewer)


class Extract(Kind[ExtractionOutcome]):
    """The kind `extract`; its rows make extractions and their vectors searchable."""

    name = "extract"
    handler_version = 3

    def record(self, session: Session, job: Job, outcome: ExtractionOutcome) -> ExtractionOutcome:
        extraction = outcome["extraction"]
        spec = extraction_spec(job)
        trait = spec["trait"]
        assert job.model is not None
        row = Extraction(
            id=new_id("ext"),
            job_id=job.id,
            owner=job.owner,
            model=job.model,
            weight_hash=extraction["weight_hash"],
            reading_hash=extraction.get("reading_hash"),
            trait=trait["name"],
            trait_version=trait["version"],
            positions=extraction["positions"],
            components=extraction["components"],
            layers=extraction["layers"],
            methods=spec["methods"],
            calibration_job=None if spec["calibration"] is None else spec["calibration"]["job"],
            rows_key=extraction["rows_key"],
            summary=extraction["summary"],
        )
        session.add(row)
        session.flush()
        digest = session.scalars(
            select(Artifact.digest).where(Artifact.job_id == job.id, Artifact.name == "vectors.safetensors")
        ).one()
        vectors = outcome["vectors"]
        if vectors:
            common = {
                "source": "extracted",
                "extraction_id": row.id,
                "owner": job.owner,
                "model": job.model,
                "weight_hash": extraction["weight_hash"],
                "reading_hash": extraction.get("reading_hash"),
                "trait": trait["name"],
                "trait_version": trait["version"],
                "digest": digest,
            }
            session.execute(insert(Vector), [{**common, **_columns(facts)} for facts in vectors])
        return {"extraction": {"id": row.id, **extraction}}

    def links(self, job: Job) -> dict[str, str]:
        own = f"/v1/extractions/{self.result(job)['extraction']['id']}"
        return {"result": own, "vectors": f"/v1/vectors?extraction={self.result(job)['extraction']['id']}"}

    def usable(self) -> Mapping[str, Usable]:
        return {"ext": (Extraction.id, _usable), "vec": (Vector.id, vector_seen)}


EXTRACT = Extract()
