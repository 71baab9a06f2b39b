"""Imports every table of the service, for migrations and for checks that compare them with the models."""

import app.audit.models
import app.auth.models
import app.calibrations.models
import app.chores
import app.devices.models
import app.extractions.models
import app.jobs.models
import app.judges.models
import app.models.models
import app.pages.models
import app.quotas.models
import app.quotas.usage_models
import app.steerings.models
import app.storage.models
import app.studies.models
import app.tallies
import app.traits.models
import app.webhooks.models  # noqa: F401
from app.db import Base

metadata = Base.metadata
