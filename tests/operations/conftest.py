"""The worker tests' service, for what an operator does to it."""

from tests.worker.conftest import live, make_service  # noqa: F401
