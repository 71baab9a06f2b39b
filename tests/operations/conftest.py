"""Fixtures of the tests of workers and of the API: what an operator backs up, restarts and stops."""

from tests.api.conftest import api, engine, sessions, settings, standing, unused_port  # noqa: F401
from tests.worker.conftest import live, make_service  # noqa: F401
