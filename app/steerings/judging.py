"""Estimates the cost of preparing a fitted judge, and finds what an earlier result showed about an equal judge, before a steering begins."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs.planned import job_of
from app.jobs.specs import extraction_spec
from app.steerings import repository
from app.steerings.limits import Grid
from app.steerings.vectors import Vectors
from app.traits.models import Trait
from binnacle.words.counting import counted
from binnacle.words.judging import REMEDY, cannot_tell
from terms.judging import FITTED, MOST_QUESTIONS, MOST_UNRELATED, JudgeSpec
from terms.specs import ExtractionSpec, SteeringAsked


@dataclass(frozen=True)
class Preparing:
    """The most unsteered answers to generate, and the arithmetic."""

    answers: int = 0
    arithmetic: str = ""


def responses_given(session: Session, vectors: Vectors) -> bool:
    """Returns whether the extraction's responses come from the dataset and not from the model."""
    spec = _extraction(session, vectors)
    return spec is not None and spec.get("responses") == "given"


def preparing(session: Session, judge: JudgeSpec, trait: Trait, vectors: Vectors, grid: Grid, new_tokens: int) -> Preparing:
    """Returns the cost of the judge. Responses of an extraction are reused if they are as long as the answers."""
    if judge["kind"] not in FITTED:
        return Preparing()
    spec, counts = _extraction(session, vectors), trait.counts
    kept = spec is not None and spec.get("responses") != "given" and (spec.get("max_new_tokens") or 0) >= new_tokens
    labelled = 0 if kept else counts["positive"] + counts["negative"]
    asked = min(MOST_QUESTIONS, grid.selection) + min(MOST_QUESTIONS, grid.test) + grid.extra
    unrelated = min(MOST_UNRELATED, counts["unrelated"])
    total = labelled + asked + unrelated
    said = (
        f"preparing the judge: {counted(labelled, 'labelled prompt')} + {counted(asked, 'question')} + "
        f"{counted(unrelated, 'unrelated question')} = {counted(total, 'unsteered answer')} of {counted(new_tokens, 'token')}, "
        "none where an equal judge is kept"
    )
    return Preparing(total, said)


def doubt(session: Session, spec: SteeringAsked, viewer: Viewer) -> list[str]:
    """Returns a warning when an equal judge, in an earlier steering visible to the viewer, could not tell the classes apart."""
    if spec["judge"]["kind"] != "reference":
        return []
    earlier = repository.judged_alike(session, spec, viewer)
    said = None if earlier is None else cannot_tell(earlier.summary.get("judge") or {})
    return (
        []
        if earlier is None or said is None
        else [f"{said} That was the outcome in {earlier.id}, which fitted an equal judge. {REMEDY}"]
    )


def _extraction(session: Session, vectors: Vectors) -> ExtractionSpec | None:
    """Returns the spec of the extraction that the judge is fitted to; None if there is none."""
    if vectors.made is not None:
        return vectors.made.spec
    return None if vectors.extraction is None else extraction_spec(job_of(session, vectors.extraction))
