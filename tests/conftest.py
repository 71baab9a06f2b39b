"""Plugins of the whole suite: the real services, the quick start of commands, the table of the several hosts, and the list of allowed skips."""

pytest_plugins = ["tests.services", "tests.forked", "tests.hosts.table", "tests.skips", "tests.quick"]
