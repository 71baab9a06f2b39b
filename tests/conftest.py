"""Plugins of the whole suite: real services, the quick start of commands, the table of several hosts, allowed skips, the order of files,
and what is not collected."""

pytest_plugins = [
    "tests.services",
    "tests.forked",
    "tests.hosts.table",
    "tests.skips",
    "tests.quick",
    "tests.order",
    "tests.collected",
]
