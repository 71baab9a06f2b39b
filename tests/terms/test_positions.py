"""Positions: a window is the Python slice of its frame (prompt, response or all), and every refusal states the grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terms.positions import GRAMMAR, Position, UnknownPosition, new_tokens_for, parse_position

INDEX = st.integers(-8, 8)
LENGTHS = st.integers(0, 10)


@given(st.sampled_from(["prompt", "response", "all"]), st.none() | INDEX, st.none() | INDEX, LENGTHS, LENGTHS)
def test_a_window_is_the_slice_of_its_frame(frame: str, start: int | None, stop: int | None, prompt: int, response: int) -> None:
    tokens = list(range(prompt + response))
    of_frame = {"prompt": tokens[:prompt], "response": tokens[prompt:], "all": tokens}[frame]
    assert list(Position(frame, start, stop).window(prompt, response)) == of_frame[start:stop]


@given(st.sampled_from(["prompt", "response", "all"]), INDEX, LENGTHS, LENGTHS)
def test_one_index_is_that_token_or_none(frame: str, index: int, prompt: int, response: int) -> None:
    tokens = list(range(prompt + response))
    of_frame = {"prompt": tokens[:prompt], "response": tokens[prompt:], "all": tokens}[frame]
    wanted = [of_frame[index]] if -len(of_frame) <= index < len(of_frame) else []
    assert list(parse_position(f"{frame}[{index}]").window(prompt, response)) == wanted


@pytest.mark.parametrize(
    "text", ["response[:5]", "prompt[-1]", "all[2:10]", "response[-3:]", "response[0]", "prompt[:]", "all[1:-1]"]
)
def test_a_position_writes_itself_as_it_was_read(text: str) -> None:
    assert str(parse_position(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "response",
        "answer[:5]",
        "response[]",
        "response[a]",
        "response[1:2:3]",
        "response[5:5]",
        "prompt[:0]",
        "all[-1:-3]",
        "[:5]",
    ],
)
def test_anything_else_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(UnknownPosition) as refused:
        parse_position(text)
    assert GRAMMAR in str(refused.value)


@pytest.mark.parametrize(
    ("positions", "tokens"),
    [
        (["response[:5]"], 5),
        (["response[:20]", "response[:5]"], 20),
        (["response[3]"], 4),
        (["prompt[-1]"], 0),
        (["response[:]"], 64),
        (["response[-1]", "response[:80]"], 80),
    ],
)
def test_new_tokens_fill_every_window(positions: list[str], tokens: int) -> None:
    assert new_tokens_for(map(parse_position, positions), 64) == tokens
