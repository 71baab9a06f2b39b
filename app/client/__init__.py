"""The Python client of the service. Imports neither torch nor any part of the server."""

from app.client.client import Client
from app.client.errors import BinnacleError, CorruptDownload, JobFailed, NoService, ServiceError, Unreachable, WaitTimeout

__all__ = ["BinnacleError", "Client", "CorruptDownload", "JobFailed", "NoService", "ServiceError", "Unreachable", "WaitTimeout"]
