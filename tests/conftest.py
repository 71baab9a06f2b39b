"""Plugins of the whole suite: the real services, and the table of the several hosts."""

pytest_plugins = ["tests.services", "tests.hosts.table"]
