"""The count of values in a raw JSON body equals the count in the parsed value.

The server counts so that it need not parse a body that is too large; here the parser is the oracle.
"""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.http.bodies import more_than

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('a,[]{}"\\:\n\u00e9\u2c00', max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(',"[{\\a', max_size=4), inner, max_size=5)
)


def members(value: Any) -> int:
    """Members of all lists and objects within, an empty one counted as if it had one."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else max(1, len(inner)) + sum(map(members, inner))


@settings(max_examples=150, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([None, (",", ":")]))
def test_values_are_counted_as_a_parser_would(
    value: Any, ascii_only: bool, indent: int | None, separators: tuple[str, str] | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators).encode()
    count = members(value)
    assert not more_than(raw, count)
    assert count == 0 or more_than(raw, count - 1)


@settings(max_examples=150, deadline=None)
@given(st.text('",[{\\]}:a', max_size=60))
def test_text_that_is_not_json_has_a_count_of_at_most_its_length(text: str) -> None:
    more = [more_than(text.encode(), most) for most in range(len(text) + 1)]
    assert more == sorted(more, reverse=True), "there is one count: more than n is more than n - 1"
    assert more[-1] is False
