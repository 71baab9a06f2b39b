"""Experiment and model variant: labels of calibrations and extractions, used as folder names in trait-interp's layout.

They are part of a job's spec, because calibration.json contains them. The result of a calibration records the variant also when the request
did not name a variant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import among
from app.jobs.models import Job
from binnacle.words.layout import FOLDER

Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=FOLDER)]

_EXPERIMENT = Job.spec["experiment"].astext
_VARIANT = func.coalesce(Job.result["calibration", "model_variant"].astext, Job.spec["model_variant"].astext)


@dataclass(frozen=True)
class Labels:
    """The two labels. None: no filter in a search, or not known for a job."""

    experiment: str | None = None
    model_variant: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Returns the conditions on jobs for a list that is filtered by these labels."""
        pairs = ((_EXPERIMENT, self.experiment), (_VARIANT, self.model_variant))
        return [column == value for column, value in pairs if value is not None]


def made_with(job_id: InstrumentedAttribute[str], labels: Labels) -> list[ColumnElement[bool]]:
    """Returns the conditions on rows of a table, where the column `job_id` holds the job that made the row."""
    conditions = labels.conditions()
    return [job_id.in_(select(Job.id).where(*conditions))] if conditions else []


def labels_of(session: Session, job_ids: Sequence[str]) -> dict[str, Labels]:
    """Returns the labels of these jobs by id; those of a job that was deleted meanwhile are empty."""
    rows = session.execute(select(Job.id, _EXPERIMENT, _VARIANT).where(among(Job.id, job_ids)))
    by_job = {job_id: Labels(experiment, variant) for job_id, experiment, variant in rows}
    return dict.fromkeys(job_ids, Labels()) | by_job
