"""Plugins of the whole suite: real services, the quick start of commands, the table of several hosts, allowed skips, and the order of files."""

pytest_plugins = ["tests.services", "tests.forked", "tests.hosts.table", "tests.skips", "tests.quick", "tests.order"]
