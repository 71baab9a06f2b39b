"""One lab for all tests of a module; where the machine does not allow it, every test says NOT RUN and why."""

import shutil
from collections.abc import Iterator

import pytest

from tests.hosts.lab import Lab
from tests.hosts.network import Network, why_not
from tests.services import make_folder


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The service over several hosts, with two workers that are free."""
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
