"""The count of values in raw bytes agrees with the parsed value, which is the oracle it spares the server to make."""

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
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_values_are_counted_as_a_parser_would(value: Any, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    count = members(value)
    assert not more_than(raw, count)
    assert count == 0 or more_than(raw, count - 1)


@settings(max_examples=150, deadline=None)
@given(st.text('",[{\\]}:a', max_size=60))
def test_what_is_no_json_ends_as_well(text: str) -> None:
    assert more_than(text.encode(), 0) in (True, False)
    assert not more_than(text.encode(), len(text))
