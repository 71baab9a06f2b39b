"""The arithmetic of the GPU card (tests/gpu/card) on events and sizes made by hand, because most of it runs on a GPU only."""

import math

import pytest

from tests.gpu.card import models, room, service, stepping
from tests.gpu.card.calibration import differences
from tests.gpu.card.fast import least_step_seconds
from tests.gpu.card.record import Setup
from tests.gpu.card.timing import Ceilings

TINY = Setup("cpu", tiny=True)


def _event(cat: str, name: str, ts: float, dur: float) -> stepping.Event:
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur}


EVENTS = [
    {"ph": "M", "name": "process_name"},
    _event("cpu_op", "aten::mm", 0, 900),
    _event("cuda_runtime", "cudaLaunchKernel", 10, 100),
    _event("cuda_driver", "cuLaunchKernelEx", 200, 100),
    _event("cuda_runtime", "cudaMemcpyAsync", 300, 50),
    _event("cuda_runtime", "cudaStreamSynchronize", 400, 600),
    _event("kernel", "gemm", 100, 400),
    _event("kernel", "gemm", 600, 100),
    _event("kernel", "norm", 450, 100),  # the first half runs beside the first gemm
    _event("gpu_memcpy", "Memcpy DtoH", 800, 50),
]


def test_the_time_of_a_step_is_split_by_its_events() -> None:
    assert stepping.split(EVENTS, wall=0.002, steps=2) == pytest.approx(
        {
            "wall": 1.0,
            "device busy": 0.3,
            "launches": 0.1,
            "waiting for the device": 0.3,
            "other host work": 0.6,
            "number of kernels": 1.5,
            "number of launches": 1.0,
            "number of waits": 0.5,
            "number of torch calls": 0.5,
        }
    )
    assert stepping.longest_kernels(EVENTS, steps=2) == [("gemm", 0.25, 1.0), ("norm", 0.05, 0.5)]


def test_waits_are_counted_by_the_line_that_waits() -> None:
    """On CUDA torch warns of each wait; here the warnings are given by hand, one a step, in the four steps that count and in six others."""
    import warnings

    def generate(on_step: stepping.OnStep) -> None:
        for _ in range(10):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            warnings.warn("another matter", stacklevel=1)
            on_step(None)

    [(place, times)] = stepping.waits_by_place(TINY, generate, start=3, steps=4).items()
    assert place.startswith("tests/card/test_card_parts.py:")
    assert times == 1.0


def test_a_generation_that_ends_before_the_counted_steps_is_a_fault() -> None:
    with pytest.raises(ValueError, match="ended after 5 steps, before the 7"):
        stepping.waits_by_place(TINY, lambda on_step: [on_step(None) for _ in range(5)], start=3, steps=4)


def test_the_roofline_of_a_step_by_hand() -> None:
    """The tiny 4B shape: 6 layers, d 64, 4 heads of 16 and 2 of keys, tied head; 8 rows of 20 tokens, 2 bytes a number."""
    lm = models.random_lm("4B", TINY)
    layer = 64 * (4 * 16) * 2 + 64 * (2 * 16) * 2 + 3 * 64 * 128 + 4 * 64 + 2 * 16
    read = 6 * layer + 64 + 1000 * 64
    assert lm.facts.n_parameters == read
    cached = 2 * 6 * 2 * 16 * 20 * 8
    slow_memory, slow_products = Ceilings(1e9, 1e18), Ceilings(1e18, 1e9)
    assert least_step_seconds(lm, 8, 20, slow_memory) == pytest.approx(2 * (read + cached) / 1e9)
    assert least_step_seconds(lm, 8, 20, slow_products) == pytest.approx((2 * read * 8 + 4 * 6 * 4 * 16 * 20 * 8) / 1e9)


@pytest.mark.parametrize("fitting", [0, 1, 31, 32, 33, 63, 100, 777, 4095, 4096, 9999])
def test_the_largest_that_fits_is_found_to_an_eighth_in_few_tries(fitting: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= fitting

    found, capped = room.largest(fits, 32, 4096)
    assert found <= fitting
    assert capped == (found == 4096) == (fitting >= 4096)
    assert capped or found * 9 / 8 + 1 >= fitting
    assert len(tried) == len(set(tried)) <= 12


def test_differences_are_in_units_of_the_last_digit() -> None:
    wanted = {
        "layer_norms": {"0": 12.3},
        "clean_norms": {"0": 1234.0},
        "top_dims_by_layer": {"0": [1, 2]},
        "mean_alignment": 0.1234,
    }
    found = {
        "layer_norms": {"0": 12.4},
        "clean_norms": {"0": 1236.0},
        "top_dims_by_layer": {"0": [2, 1]},
        "mean_alignment": 0.1234,
    }
    units = list(differences(found, wanted))
    assert units[0] == ("layer_norms/0", pytest.approx(1.0))
    assert units[1] == ("clean_norms/0", pytest.approx(2.0))
    assert units[2:4] == [("top_dims_by_layer/0", math.inf)] * 2
    assert units[4] == ("mean_alignment", 0.0)
    assert dict(differences({"a": 1.0}, {"b": 1.0})) == {"": math.inf}
    assert dict(differences({"x": 0.5}, {"x": 0.25})) == {"x": pytest.approx(math.inf)}


def test_the_service_s_tests_are_listed_with_their_outcomes() -> None:
    assert "test_device_errors.py::test_a_sticky_error_fails_its_job_and_the_next_runs_in_a_fresh_child" in service.names()
    junit = """<testsuites><testsuite>
        <testcase classname="tests.gpu.test_a" name="test_one"/>
        <testcase classname="tests.gpu.test_a" name="test_two[x]"><failure message="assert 1 == 2">...</failure></testcase>
        <testcase classname="tests.gpu.test_b" name="test_three"><skipped message="needs a CUDA device">...</skipped></testcase>
        <testcase classname="" name="tests.gpu.test_c"><error message="collection failure">...</error></testcase>
        </testsuite></testsuites>"""
    assert service.states_in(junit) == {
        "test_a.py::test_one": "passed",
        "test_a.py::test_two": "failed: assert 1 == 2",
        "test_b.py::test_three": "not run: needs a CUDA device",
        "test_c.py": "failed: collection failure",
    }


def test_a_large_models_tokenizer_has_a_text_for_each_token_and_encodes_none_of_the_added_ones() -> None:
    lm = models.random_lm("1.5B", TINY)
    texts = [lm.tokenizer.decode([token]) for token in range(300, lm.vocab_size)]
    assert len(set(texts)) == lm.vocab_size - 300
    assert all(text.strip() for text in texts)
    assert max(lm.tokenizer("word300 and é")["input_ids"]) < 300
