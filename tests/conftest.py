"""Fixtures for the whole suite; the real services are in `tests/services.py`."""

pytest_plugins = ["tests.services"]
