"""Fixtures of the tests that need a CUDA device; where torch sees none, every test of this folder is skipped with that reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.ml.tiny_models import tiny_model_folder
from tests.worker.conftest import Service, make_service  # noqa: F401
from tests.worker.looking import register

HERE = Path(__file__).parent
MIB = 1 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks this folder's tests, and skips them where torch sees no card."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


@pytest.fixture
def live(
    make_service: Callable[..., Service],  # noqa: F811
    database_url: str,
    broker_url: str,
    broker_prefix: str,
) -> Service:
    """Leases as a deployment has them, on which a gap in the heartbeat is measured."""
    return make_service(database_url, broker_url, broker_prefix, ttl=60, margin=10, watch=0.5, sweep=2)


@pytest.fixture
def card() -> dict[str, str]:
    """The environment of a worker on the first card."""
    return {"BINNACLE_DEVICE": "cuda:0", "BINNACLE_MODEL_BUDGET_BYTES": str(20 << 30)}


@pytest.fixture
def free() -> Callable[[], int]:
    """Returns a function for the card's free bytes, by the driver."""
    torch.cuda.mem_get_info("cuda:0")  # makes this process's own context, so that it does not count as taken later
    return lambda: torch.cuda.mem_get_info("cuda:0")[0]


@pytest.fixture
def look(live: Service, tmp_path: Path) -> Callable[[], str]:
    """Returns a function that submits a generation on a model of some 120 MiB in bfloat16 and returns the job's id."""
    folder = tiny_model_folder(tmp_path, "llama", hidden_size=1024, intermediate_size=4096, head_dim=256)
    return register(live, folder)
