"""Finds the dose at which a vector is known to break answers, from steerings that the viewer may see; the newest that tried it counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.extractions import service as extractions
from app.extractions.results import VectorOut
from app.http.context import Context
from app.jobs import reading
from app.jobs.schemas import JobOut
from app.jobs.specs import steering_spec
from app.pages.kept import kept
from app.pages.stored import document, file_of
from app.steerings import service
from terms.documents.reading import read_summary
from terms.documents.steering import Summary

LOOKED_AT = 3
"""Number of newest steerings of a vector's model and trait that are read."""


@dataclass(frozen=True)
class Cliff:
    """`best`: the dose that worked best; `at`: the least positive dose with a coherence below the lowest allowed, None if there was none."""

    best: float | None
    at: float | None


def cliffs_in(summary: Summary | None) -> dict[str, Cliff]:
    """Returns cliffs by the vector's id, or by its key if the steering took it from an extraction; skips vectors that were applied together, and
    those without a positive dose. Empty for a steering with another push than the page's: against the vector, or not an addition.
    """
    by_vector: dict[str, Cliff] = {}
    if not summary or summary.get("direction") == "negative" or summary.get("operation", "add") != "add":
        return by_vector
    for subject in summary.get("subjects") or []:
        keys, ids = subject.get("keys") or [], subject.get("ids") or []
        named = next((name for name in (*ids, *keys) if name), None)
        if named is not None and max(len(keys), len(ids)) == 1:
            tried = {
                r: score for point in subject["curve"] if (r := point["r"] or 0) > 0 and (score := point["coherence"]) is not None
            }
            under = [r for r, coherence in tried.items() if coherence < summary["coherence_threshold"]]
            if tried:
                by_vector[named] = Cliff(subject.get("best_r"), min(under, default=None))
    return by_vector


async def cliffs(context: Context, viewer: Viewer, vectors: Sequence[VectorOut]) -> dict[str, Cliff]:
    """Returns the cliffs of the vectors that a steering tried, by id."""
    by_id: dict[str, Cliff] = {}
    made_by = await context.database.read(_extraction_jobs, viewer, vectors)
    for model, trait in dict.fromkeys((vector.model, vector.trait) for vector in vectors):
        for job_id in await context.database.read(_steerings, viewer, model, trait):
            job = await context.part(reading.Reader).job(job_id, viewer)
            sources = {source["job"] for source in steering_spec(job).get("from") or ()} if job.kind == "steer" else frozenset()
            of_job = await _of(context, job)
            for vector in vectors:
                name = vector.key if made_by.get(vector.id) in sources else vector.id
                if name in of_job:
                    by_id.setdefault(vector.id, of_job[name])
    return by_id


def _extraction_jobs(session: Session, viewer: Viewer, vectors: Sequence[VectorOut]) -> dict[str, str]:
    """Returns the extraction's job of each vector."""
    return {
        vector.id: extractions.existing(session, vector.extraction, viewer).job_id
        for vector in vectors
        if vector.extraction is not None
    }


def _steerings(session: Session, viewer: Viewer, model: str, trait: str | None) -> list[str]:
    return [steering.job for steering in service.listing(session, viewer, model=model, trait=trait, limit=LOOKED_AT, before=None)]


async def _of(context: Context, job: JobOut) -> dict[str, Cliff]:
    file = file_of(job, "summary.json")

    async def read() -> dict[str, Cliff]:
        return cliffs_in(await document(context, job, "summary.json", read_summary))

    return {} if file is None else await kept((file.digest, "cliffs"), read)
