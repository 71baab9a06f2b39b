"""One lab for all tests of a module; on a machine that cannot run it, every test is skipped with the reason."""

import shutil
from collections.abc import Iterator

import pytest

from tests.hosts.lab import Lab
from tests.hosts.network import Network, why_not
from tests.services import make_folder


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The service on several hosts, with two idle model workers."""
    if reason := why_not():
        pytest.skip(f"NOT RUN: {reason}")
    folder = make_folder()
    with Network() as network:
        made = Lab(network, folder)
        try:
            made.start()
            yield made
        finally:
            made.close()
    shutil.rmtree(folder)
