"""Finds what prevents a deletion and explains it in a sentence.

A deletion is prevented by unfinished jobs of any user, and by the owner's kept jobs that were made from the object and studies that
contain it. Other finished jobs prevent nothing: their results are complete. Jobs that the caller may not see are counted, not named. Reads the
database only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.deletion import repository
from app.errors import Problem
from app.jobs import repository as job_repository
from app.jobs.models import Job
from app.jobs.uses import uses
from terms.values import JsonObject

NAMED = 5
"""Most names that a sentence lists."""


@dataclass
class Holders:
    """Ids of the jobs and studies that prevent the deletion of one object."""

    unfinished: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)


def holders(session: Session, jobs: Sequence[str], vectors: Mapping[str, str], owner: str) -> dict[str, Holders]:
    """Returns what prevents the deletion of each of these jobs; `vectors` maps the ids of the vectors that they made to their jobs."""
    by_job: dict[str, Holders] = {}
    for use in uses(session, {*jobs, *vectors}):
        held = by_job.setdefault(vectors.get(use.thing, use.thing), Holders())
        held.unfinished += [] if use.job in held.unfinished else [use.job]
    for job, kept in repository.kept_users(session, jobs, owner):
        by_job.setdefault(job, Holders()).kept.append(kept)
    for job, study in repository.studies_of(session, jobs, owner):
        by_job.setdefault(job, Holders()).studies.append(study)
    return by_job


def in_use(session: Session, identifier: str, held: Holders, viewer: Viewer) -> Problem:
    """Returns the 409 that names what uses the object and what to do first."""
    names = _visible(session, held.unfinished, viewer)
    used_by = list(dict.fromkeys([*names, *held.kept, *held.studies]))  # a kept job can be unfinished
    facts: JsonObject = {"used_by": used_by, "hidden": len(held.unfinished) - len(names)}
    return Problem(409, "in_use", f"{identifier} cannot be deleted. {sentence(session, held, viewer)}", facts=facts)


def sentence(session: Session, held: Holders, viewer: Viewer) -> str:
    """Returns the sentences that name the jobs and studies that prevent a deletion, where the caller may see them, and say what to do first."""
    said = []
    if held.unfinished:
        names = _visible(session, held.unfinished, viewer)
        hidden = len(held.unfinished) - len(names)
        others = [f"{hidden} {'job' if hidden == 1 else 'jobs'} that you cannot see"] if hidden else []
        said.append(f"Unfinished jobs use it: {_listed(list(names.values()), others)}. Cancel them, or wait until they end.")
    if held.kept:
        said.append(f"Kept jobs depend on it: {_listed(held.kept)}. Stop keeping them first (binnacle edit JOB --no-keep).")
    if held.studies:
        said.append(f"It is part of a study: {_listed(held.studies)}. Delete the study first.")
    return " ".join(said)


def _visible(session: Session, ids: Sequence[str], viewer: Viewer) -> dict[str, str]:
    """Returns those of these jobs that the caller may see: a text with kind, name and state, by id."""
    rows = session.scalars(job_repository.visible(viewer).where(Job.id.in_(ids)).order_by(Job.id))
    return {job.id: f"{job.id} ({job.kind}{'' if job.name is None else f', {job.name!r}'}, {job.state})" for job in rows}


def _listed(names: Sequence[str], others: Sequence[str] = ()) -> str:
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more, *others])
