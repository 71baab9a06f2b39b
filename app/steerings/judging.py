"""What preparing a fitted judge costs, and what an earlier result says of an equal one, before a steering begins."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.jobs.planned import job_of
from app.jobs.specs import extraction_spec
from app.steerings import repository
from app.steerings.limits import Grid
from app.steerings.vectors import Vectors
from app.traits.models import Trait
from binnacle.words.judging import REMEDY, cannot_tell
from terms.judging import FITTED, MOST_QUESTIONS, MOST_UNRELATED
from terms.specs import ExtractionSpec, JudgeSpec, SteeringAsked


@dataclass(frozen=True)
class Preparing:
    """The unsteered answers to generate at most, and the arithmetic."""

    answers: int = 0
    arithmetic: str = ""


def responses_given(session: Session, vectors: Vectors) -> bool:
    """Whether the responses of the extraction are the dataset's and not the model's own."""
    spec = _extraction(session, vectors)
    return spec is not None and spec.get("responses") == "given"


def preparing(session: Session, judge: JudgeSpec, trait: Trait, vectors: Vectors, grid: Grid, new_tokens: int) -> Preparing:
    """The price of the judge. An extraction's own responses are not generated again where they are as long as the answers."""
    if judge["kind"] not in FITTED:
        return Preparing()
    spec, counts = _extraction(session, vectors), trait.counts
    kept = spec is not None and spec.get("responses") != "given" and (spec.get("max_new_tokens") or 0) >= new_tokens
    labelled = 0 if kept else counts["positive"] + counts["negative"]
    asked = min(MOST_QUESTIONS, grid.selection) + min(MOST_QUESTIONS, grid.test) + grid.extra
    unrelated = min(MOST_UNRELATED, counts["unrelated"])
    total = labelled + asked + unrelated
    said = (
        f"preparing the judge: {labelled:,} labelled prompts + {asked:,} questions + {unrelated:,} unrelated questions = {total:,} unsteered "
        f"answers of {new_tokens:,} tokens, none where an equal judge is kept"
    )
    return Preparing(total, said)


def doubt(session: Session, spec: SteeringAsked, viewer: Viewer) -> list[str]:
    """A warning when an equal judge of an earlier steering that the viewer may see could not tell the classes apart."""
    if spec["judge"]["kind"] != "reference":
        return []
    found = repository.judged_alike(session, spec, viewer)
    said = None if found is None else cannot_tell(found.summary.get("judge") or {})
    return [] if found is None or said is None else [f"{said} So it came out in {found.id}, which fitted it alike. {REMEDY}"]


def _extraction(session: Session, vectors: Vectors) -> ExtractionSpec | None:
    """The spec of the extraction that fits the judge; None where there is none."""
    if vectors.made is not None:
        return vectors.made.spec
    return None if vectors.extraction is None else extraction_spec(job_of(session, vectors.extraction))
