"""Binnacle from Python: `import binnacle; client = binnacle.Client()`. Needs neither torch nor the server.

Names are imported on first use, so that the command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from binnacle.version import VERSION

if TYPE_CHECKING:
    from binnacle.client import Client
    from binnacle.errors import BinnacleError, CorruptDownload, JobFailed, NoService, ServiceError, Unreachable, WaitTimeout

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


def __getattr__(name: str) -> Any:
    """Returns the client or an error class. Raises AttributeError for other names."""
    if name not in __all__:
        raise AttributeError(f"module 'binnacle' has no attribute {name!r}")
    return getattr(import_module("binnacle.client" if name == "Client" else "binnacle.errors"), name)


def __dir__() -> list[str]:
    return __all__
