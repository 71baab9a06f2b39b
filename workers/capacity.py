"""Reports how much memory a worker could use for models, before any model is loaded. Imports no torch."""

from app.settings import Settings
from workers.host import host_bytes


def capacity(settings: Settings) -> dict[str, int | str]:
    """The bytes that the worker's models may take together (`budget`), the dtype in which it loads them, and on a CPU the memory of the host, or
    of the worker's control group. A GPU's memory is known only after torch has queried it (`Shelf.memory`)."""
    known: dict[str, int | str] = {"budget": settings.model_budget_bytes, "dtype": settings.weights_dtype}
    return known if settings.device.startswith("cuda") else known | {"device_total": host_bytes()}
