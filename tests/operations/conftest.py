"""What an operator does to: the worker tests' service, and the API tests' application."""

from tests.api.conftest import api, engine, sessions, settings, standing, unused_port  # noqa: F401
from tests.worker.conftest import live, make_service  # noqa: F401
