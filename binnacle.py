"""Binnacle from Python: `import binnacle; client = binnacle.Client()`. Needs no torch."""

from app.client import BinnacleError, Client, CorruptDownload, JobFailed, NoService, ServiceError, Unreachable, WaitTimeout
from terms.version import VERSION

__version__ = VERSION

__all__ = [
    "BinnacleError",
    "Client",
    "CorruptDownload",
    "JobFailed",
    "NoService",
    "ServiceError",
    "Unreachable",
    "WaitTimeout",
    "__version__",
]
