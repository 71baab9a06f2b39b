"""The list of long test files names files that exist, and this run began with them."""

from itertools import groupby
from pathlib import Path

import pytest

from tests.order import LIST, file_of, seconds_by_file

ROOT = Path(__file__).parents[1]


def test_the_list_names_files_that_are_there() -> None:
    listed = seconds_by_file(LIST.read_text().splitlines())
    assert [path for path in listed if not (ROOT / path).is_file()] == []


def test_this_run_began_with_the_longest_files_and_left_none_before_its_end(request: pytest.FixtureRequest) -> None:
    files = [file for file, _ in groupby(file_of(item.nodeid) for item in request.session.items)]
    seconds = [seconds_by_file(LIST.read_text().splitlines()).get(file, 0) for file in files]
    assert seconds == sorted(seconds, reverse=True)
    assert len(files) == len(set(files))
