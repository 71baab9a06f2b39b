"""Plugins of the whole suite: real services, the quick start of commands, the table of several hosts, allowed skips, the order of files,
and a garbage collector that leaves the collected tests alone."""

import signal

pytest_plugins = [
    "tests.services",
    "tests.forked",
    "tests.hosts.table",
    "tests.skips",
    "tests.quick",
    "tests.order",
    "tests.collected",
]


def pytest_configure() -> None:
    """Lets tests interrupt programs also in a run that a shell started in the background, which ignores SIGINT, as its children then do."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
