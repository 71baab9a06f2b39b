"""Every table of the service, imported in one place, for migrations and for what compares them with the models."""

import app.auth.models
import app.calibrations.models
import app.jobs.models
import app.models.models
import app.storage.models  # noqa: F401
from app.db import Base

metadata = Base.metadata
