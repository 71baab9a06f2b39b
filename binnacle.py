"""Binnacle from Python: `import binnacle; client = binnacle.Client()`. Needs no torch."""

from importlib.metadata import version

from app.client import BinnacleError, Client, CorruptDownload, JobFailed, NoService, ServiceError, Unreachable, WaitTimeout

__version__ = version("binnacle")
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
