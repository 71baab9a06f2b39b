"""Experiment and model variant: labels of calibrations and extractions, which name their folders in trait-interp's layout.

They are part of a job's spec, since calibration.json holds them; a calibration's result also has the variant of a request that named none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.jobs.models import Job
from binnacle.words.layout import FOLDER

Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=FOLDER)]

_EXPERIMENT = Job.spec["experiment"].astext
_VARIANT = func.coalesce(Job.result["calibration", "model_variant"].astext, Job.spec["model_variant"].astext)


@dataclass(frozen=True)
class Labels:
    """None: not named in a filter, or not known of a job."""

    experiment: str | None = None
    model_variant: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a job must be for a list that is narrowed to these labels."""
        pairs = ((_EXPERIMENT, self.experiment), (_VARIANT, self.model_variant))
        return [column == value for column, value in pairs if value is not None]


def made_with(job_id: InstrumentedAttribute[str], labels: Labels) -> list[ColumnElement[bool]]:
    """The same for the rows of a table whose column `job_id` names the job that made them."""
    conditions = labels.conditions()
    return [job_id.in_(select(Job.id).where(*conditions))] if conditions else []


def labels_of(session: Session, job_ids: Sequence[str]) -> dict[str, Labels]:
    """The labels of these jobs; of a job that was deleted meanwhile there are none."""
    rows = session.execute(select(Job.id, _EXPERIMENT, _VARIANT).where(Job.id.in_(job_ids)))
    found = {job_id: Labels(experiment, variant) for job_id, experiment, variant in rows}
    return dict.fromkeys(job_ids, Labels()) | found
