"""Plugins of the whole suite: real services, the quick start of commands, the table of several hosts, allowed skips, the order of files,
and a garbage collector that leaves the collected tests alone."""

pytest_plugins = [
    "tests.services",
    "tests.forked",
    "tests.hosts.table",
    "tests.skips",
    "tests.quick",
    "tests.order",
    "tests.collected",
]
