"""`make quick` takes tests of formulas and rules, and leaves out those that load torch or start a service."""

from pathlib import Path

import pytest

from tests.quick import STARTERS, heavy, imported, is_quick, reached

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    "name", ["ml/science/test_verdicts.py", "terms/test_methods.py", "api/test_estimates.py", "exports/test_hostile_files.py"]
)
def test_files_of_formulas_and_rules_are_taken(name: str) -> None:
    assert not heavy(TESTS / name)
    assert not STARTERS & imported(TESTS / name, anywhere=True)


@pytest.mark.parametrize(
    "name", ["ml/lm/test_lm_cache.py", "ml/steering/test_steering_search.py", "shipped/test_training.py", "real/test_smollm2.py"]
)
def test_files_that_load_torch_are_left_out_directly_or_through_what_they_import(name: str) -> None:
    assert heavy(TESTS / name)


def test_what_a_file_imports_is_followed_through_relative_and_absolute_names() -> None:
    found = {path.name for path in reached(TESTS / "ml" / "lm" / "test_lm_cache.py")}
    assert {"test_lm_cache.py", "cache.py", "facts.py"} <= found


def test_a_test_on_a_database_is_left_out(database_url: str, request: pytest.FixtureRequest) -> None:
    assert database_url
    assert not is_quick(request.node)


def test_a_test_without_fixtures_is_taken(request: pytest.FixtureRequest) -> None:
    assert is_quick(request.node)
