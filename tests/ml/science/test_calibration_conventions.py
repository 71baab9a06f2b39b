"""Medians, percentiles, rounding, the statistics of one prompt, delimiters and kept token values, on arrays small enough to check by hand."""

from contextlib import closing

import numpy as np
import pytest
import torch

from tests.ml.tiny_models import tiny_tokenizer
from workers.science.delimiters import Delimiters, is_delimiter_text
from workers.science.medians import decimals, lower_median, percentile, significant
from workers.science.residual import ROWS, TokenSpan, mean_alignment, read_layer
from workers.science.tokenvalues import TokenValues

# Tokens x dims. The prompt is the first two tokens; the delimiter is token 2.
H_TD = torch.tensor([[3.0, 0.0, -4.0], [0.0, 1.0, 0.0], [-3.0, 2.0, 1.0], [1.0, -2.0, 4.0]])
SPAN = TokenSpan(prompt_tokens=2, response_tokens=2, delimiter=2)


def test_the_median_of_an_even_number_is_the_lower_of_two() -> None:
    assert lower_median(np.array([4.0, 1.0, 3.0, 2.0])) == 2.0
    assert lower_median(np.array([5.0, 1.0, 3.0])) == 3.0
    assert lower_median(np.array([[1.0, 9.0], [2.0, 8.0]]), axis=0).tolist() == [1.0, 8.0]
    values = np.random.default_rng(0).normal(size=1000)
    assert lower_median(values) == torch.tensor(values).median().item()


def test_a_percentile_is_linear_between_neighbours() -> None:
    assert percentile(np.array([30.0, 10.0, 20.0]), 50) == 20.0
    assert percentile(np.array([0.0, 10.0]), 5) == pytest.approx(0.5)
    assert percentile(np.arange(101.0), 5) == pytest.approx(5.0)


def test_rounding_keeps_places_and_digits_and_refuses_what_json_cannot_hold() -> None:
    assert decimals(1.25004, 4) == 1.25
    assert str(decimals(-0.00001, 4)) == "0.0"
    assert [significant(value, 4) for value in (123456.0, 0.00123456, 9.9996, 0.0)] == [123500.0, 0.001235, 10.0, 0.0]
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cannot hold"):
            decimals(bad, 1)
        with pytest.raises(ValueError, match="cannot hold"):
            significant(bad, 4)


def test_the_statistics_of_one_prompt_by_hand() -> None:
    reading = read_layer(H_TD, SPAN)
    assert reading.signed.tolist() == [-2.0, 0.0, 5.0]  # response tokens alone
    assert reading.absolute.tolist() == [4.0, 4.0, 5.0]
    assert reading.square.tolist() == [10.0, 8.0, 17.0]
    assert reading.norm_square.tolist() == [14.0, 21.0]
    assert reading.peak.tolist() == [3.0, 2.0, 4.0]  # all tokens
    assert reading.peak.median().item() == 3.0
    assert reading.entry_median.item() == 1.0  # 0 0 0 1 1 1 2 2 3 3 4 4: the sixth of twelve
    assert reading.peak_first.tolist() == [True, False, True]  # dim 0 ties with token 2, dim 2 with token 3: the first counts
    assert reading.peak_delimiter.tolist() == [False, True, False]  # dim 1 ties with token 3


def test_alignment_is_the_mean_cosine_of_the_prompt_s_tokens_with_their_mean() -> None:
    mean = np.array([1.5, 0.5, -2.0])
    cosines = [(3 * 1.5 + 4 * 2) / 5, 0.5]
    assert read_layer(H_TD, SPAN).alignment.item() == pytest.approx(np.mean(cosines) / np.linalg.norm(mean), abs=1e-12)
    assert mean_alignment(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == 0.0  # a zero mean has cosine 0 with everything
    assert mean_alignment(torch.tensor([[2.0, 1.0]])).item() == pytest.approx(1.0)


def test_a_prompt_without_an_answer_or_delimiter_has_its_peaks_only() -> None:
    reading = read_layer(H_TD, TokenSpan(prompt_tokens=4, response_tokens=0, delimiter=None))
    assert reading.absolute.tolist() == [0.0, 0.0, 0.0]
    assert reading.norm_square.shape == (0,)
    assert reading.peak.tolist() == [3.0, 2.0, 4.0]
    assert not reading.peak_delimiter.any()


def test_sums_over_many_chunks_of_rows_are_exact() -> None:
    """Integers: their float64 sums are exact in any order; no row is lost or counted twice at a chunk's edge."""
    h_TD = torch.randint(-9, 10, (2 * ROWS + 3, 5), generator=torch.Generator().manual_seed(0)).float()
    reading = read_layer(h_TD, TokenSpan(prompt_tokens=3, response_tokens=2 * ROWS, delimiter=None))
    response = h_TD[3:].long()
    assert reading.signed.tolist() == response.sum(0).tolist()
    assert reading.absolute.tolist() == response.abs().sum(0).tolist()
    assert reading.square.tolist() == response.square().sum(0).tolist()
    assert reading.norm_square.tolist() == response.square().sum(1).tolist()


def test_float32_values_are_summed_in_float64() -> None:
    """In float32 1e8 + 1 is 1e8; in bfloat16 256 + 1 is 256."""
    h_TD = torch.tensor([[1e8], [1.0], [1.0], [-1e8]])
    assert read_layer(h_TD, TokenSpan(1, 3, None)).signed.tolist() == [2.0 - 1e8]
    half = torch.full((300, 1), 1.0, dtype=torch.bfloat16)
    assert read_layer(half, TokenSpan(1, 299, None)).absolute.tolist() == [299.0]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        *((text, True) for text in (".", " ,", "\n\n", "", "?!", "$", "。", "“")),
        *((text, False) for text in ("a", ".a", "<s>", "\ufffd", "7")),
    ],
)
def test_a_delimiter_is_space_or_punctuation_only(text: str, delimiter: bool) -> None:
    assert is_delimiter_text(text) is delimiter


def test_the_first_token_is_never_the_first_delimiter() -> None:
    tokenizer = tiny_tokenizer("no_bos")
    places = {text: Delimiters(tokenizer).first_after_start(tokenizer(text)["input_ids"]) for text in (".a,b", "..", ".a", "a b")}
    assert places == {".a,b": 2, "..": 1, ".a": None, "a b": 1}


def test_token_values_come_back_in_order_and_missing_dims_are_named() -> None:
    with closing(TokenValues(n_layers=1)) as values:
        for dims, rows in (([1, 4], [[1.0, 4.0], [2.0, 5.0]]), ([4], [[14.0], [15.0]]), ([4], [])):
            squares = torch.full((len(rows),), 200.0, dtype=torch.float64)
            values.add_prompt([squares], [torch.tensor(dims)], [torch.tensor(rows).reshape(len(rows), len(dims))])
        assert values.column(0, 4).tolist() == [4.0, 5.0, 14.0, 15.0]
        assert values.missing({0: [1, 4]}) == {1: {0: [1]}}  # the last prompt has no tokens and lacks nothing
        with pytest.raises(KeyError, match="dim 1 was not kept for prompt 1"):
            values.column(0, 1)
        values.add_dims(1, 0, torch.tensor([1]), torch.tensor([[11.0], [12.0]]))
        assert values.column(0, 1).tolist() == [1.0, 2.0, 11.0, 12.0]
        without = [(200 - 1 - 16) ** 0.5, (200 - 4 - 25) ** 0.5, 0.0, 0.0]  # where less than 0 is left, 0
        assert values.norms_without(0, [1, 4]).tolist() == pytest.approx(without)
