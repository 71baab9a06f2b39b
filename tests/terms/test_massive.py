"""The massive dims of a calibration, read from files of schema 1 and of schema 2, and the names of their rules."""

import re

import pytest

from binnacle.words.massive import PATTERN, listed, massive_at, rule_of, stored_rule

OLD = {"massive_dims": {"rule": "massive", "dims": [5, 2]}}
NEW = {"massive_dims": {"rule": "peeling", "dims": [5, 2]}, "massive_by_layer": {"0": [5, 2], "1": [2], "3": []}}


def test_a_file_of_schema_1_has_one_list_for_every_layer_under_the_rule_s_present_name() -> None:
    assert rule_of(OLD) == "ratio10-3layers"
    assert [massive_at(OLD, layer) for layer in (0, 1, 17)] == [[5, 2]] * 3


def test_a_file_of_schema_2_has_a_list_for_each_layer() -> None:
    assert rule_of(NEW) == "peeling"
    assert [massive_at(NEW, layer) for layer in (0, 1, 3)] == [[5, 2], [2], []]
    assert massive_at(NEW, 2) == listed(NEW) == [5, 2]  # not captured


@pytest.mark.parametrize("rule", ["top5-3layers", "all", "sun", "ratio:12.5"])
def test_other_rules_are_called_what_they_were(rule: str) -> None:
    assert rule_of({"massive_dims": {"rule": rule, "dims": []}}) == stored_rule(rule) == rule


def test_which_rules_a_request_may_name() -> None:
    good = (
        "massive",
        "peeling",
        "ratio10-3layers",
        "top5-3layers",
        "all",
        "sun",
        "ratio:10",
        "ratio:3.5",
        "peel:0.1",
        "peel:0.05",
    )
    assert all(re.fullmatch(PATTERN, rule) for rule in good)
    assert not any(
        re.fullmatch(PATTERN, rule) for rule in ("", "peel", "peel:0", "peel:0.00", "peel:1", "peel:1.5", "ratio:", "ratio:-1")
    )
