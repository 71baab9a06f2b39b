"""Names of methods: every key reads back as its method, and an unknown name is refused with what is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terms.methods import BASES, NOT_OF_ROWS, Method, UnknownMethod, method, parse_method, plain_of

FITTED = sorted(set(BASES) - {*NOT_OF_ROWS, "shuffled"})


def _parameters(base: str) -> st.SearchStrategy[dict[str, object]]:
    numbers = {
        name: st.integers(int(p.low), int(p.high)) if isinstance(p.default, int) else st.floats(p.low, p.high)
        for name, p in BASES[base].items()
        if not isinstance(p.default, str)
    }
    return st.fixed_dictionaries({}, optional=numbers)


@st.composite
def methods(draw: st.DrawFn) -> Method:
    """Draws any method with valid parameters."""
    base = draw(st.sampled_from(sorted(BASES)))
    if base == "shuffled":
        of = draw(st.sampled_from(FITTED))
        suffix = draw(st.sampled_from(["", "_cleaned", "_top3", "_pretop1"]))
        return method(base, {"of": method(of + suffix, draw(_parameters(of))).key, **draw(_parameters(base))})
    suffixes = ["", "_cleaned", "_top1", "_top12", "_largest3", "_randomdims5"]
    suffixes += [] if base in NOT_OF_ROWS else ["_preclean", "_pretop2"]
    return method(base + draw(st.sampled_from(suffixes)), draw(_parameters(base)))


@given(methods())
def test_a_key_reads_back_as_its_method_and_is_safe_in_a_path(one: Method) -> None:
    assert parse_method(one.key) == one
    assert not set(one.key) & set("/\\ :%\0")


def test_default_parameters_do_not_show() -> None:
    assert method("probe", {"c": 1}).key == "probe"
    assert method("random", {"seed": 2}).key == "random__seed2"
    assert method("shuffled", {"of": "probe_cleaned", "seed": 1}).key == "shuffled__of-probe_cleaned__seed1"


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("pobe", {}, "mean_diff, mean_diff_rownorm, probe"),
        ("probe_top0", {}, "is not a method"),
        ("probe", {"d": 1}, "It has: c"),
        ("probe", {"c": 0}, "from 1e-06"),
        ("probe", {"c": True}, "a number"),
        ("gradient", {"steps": 1.5}, "whole number"),
        ("random_preclean", {}, "random_cleaned"),
        ("lm_loss_preclean", {}, "lm_loss_cleaned"),
        ("lm_loss", {"refit": 1}, "It has: steps, seed"),
        ("shuffled", {"of": "random"}, "cannot be random, shuffled or lm_loss"),
        ("shuffled", {"of": "lm_loss"}, "fitted to labelled rows"),
        ("shuffled_cleaned", {}, "of=mean_diff_cleaned"),
        ("shuffled_top2", {"of": "gradient__steps500"}, r"of=gradient_top2__steps500\.$"),
        ("shuffled_cleaned", {"of": "probe_top1"}, r"of=probe_top1\.$"),
        ("shuffled", {"of": "shuffled__" + "of-shuffled__" * 400 + "of-probe"}, "cannot be random, shuffled or lm_loss"),
    ],
)
def test_an_unknown_method_is_refused_with_what_is_allowed(name: str, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UnknownMethod, match=said):
        method(name, parameters)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("probe_cleaned", "probe"),
        ("prompt[-1]/residual/probe_cleaned__c10.0", "prompt[-1]/residual/probe__c10.0"),
        ("imported/residual/mine_cleaned", "imported/residual/mine"),
        ("response[:5]/residual/probe_top1", ""),
        ("shuffled__of-probe_cleaned__seed1", ""),
    ],
)
def test_the_plain_method_of_a_cleaned_one_has_its_parameters(name: str, plain: str) -> None:
    assert plain_of(name) == plain


def test_which_methods_need_a_calibration() -> None:
    needing = {
        key
        for key in ("probe", "probe_cleaned", "pca_top1", "random", "shuffled__of-lda_preclean")
        if parse_method(key).needs_calibration
    }
    assert needing == {"probe_cleaned", "pca_top1", "shuffled__of-lda_preclean"}
