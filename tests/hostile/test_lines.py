"""No name in a request body may hold a control character, a line break or a bidi mark; fields of free text are listed here.

The fields are read from openapi.json, so a new string field counts as a name until it is added to PROSE or OPEN.
"""

import json
import re
from typing import Any

import httpx2
import pytest

from app.text import LINE
from tests.api.process import ApiProcess
from tests.hostile.conftest import refused
from tests.hostile.routes import address, operations, placed, resolved, schema_of
from tests.hostile.test_strings import a_body

PROSE = re.compile(
    r"notes|prompts/0(/prompt|/system_prompt)?|.*(question|system_prompt|answer|response|definition|eval_prompt|prompt)"
    r"|(positive|negative|paraphrases|unrelated|steering/questions|questions/(selection|test))/0"
)
"""Fields of free text, which may have line breaks, by their place in the body."""
OPEN = re.compile(r"methods/0/key|options/extra/key|labels/key|file|files/0")
"""Neither names nor prose: parameters of a method, fields of an endpoint, ids of texts, bytes of a file. What reads them checks them."""
NOT_IN_A_LINE = ("\x1b[31m", "\x07", "\n", "\r\n", "\t", "\x7f", "\x85", "\u009b31m", "\u061c", "\u200e", "\u200f", "\u2028", "\u2029",
                 "\u202a", "\u202e", "\u2066", "\u2069")  # fmt: skip
"""Control characters, line breaks and marks of direction (bidi)."""
JSON = {"Content-Type": "application/json"}


def strings(schema: dict[str, Any], at: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The place and the schema of every string in a body of this schema."""
    schema = resolved(schema)
    found = [one for part in ("anyOf", "oneOf", "allOf") for inner in schema.get(part, ()) for one in strings(inner, at)]
    if schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
        found.append((at, schema))
    elif schema.get("type") == "array":
        found += strings(schema.get("items", {}), (*at, 0))
    elif schema.get("type") == "object":
        found += [one for name, inner in schema.get("properties", {}).items() for one in strings(inner, (*at, name))]
        if schema.get("additionalProperties") or schema.get("patternProperties"):
            found.append(((*at, "key"), schema))
    return found


BODIES = [one for one in operations() if "application/json" in one[2].get("requestBody", {}).get("content", {})]
FIELDS = [
    (method, path, told, place, schema)
    for method, path, told in BODIES
    for place, schema in strings(schema_of(told))
    if not OPEN.fullmatch("/".join(map(str, place)))
]
"""(method, path, operation, place in the body, schema) of every string that is checked here."""
NAMES = [one for one in FIELDS if not PROSE.fullmatch("/".join(map(str, one[3])))]


def test_every_string_of_every_body_is_a_name_or_is_listed_as_prose() -> None:
    """The pattern of a name admits none of NOT_IN_A_LINE, and no prose has the pattern of names."""
    assert len(NAMES) > 60
    loose = [
        f"{method} {path} {'/'.join(map(str, place))}"
        for method, path, _, place, schema in NAMES
        if any(re.search(schema.get("pattern", ""), f"ab{bad}cd") for bad in NOT_IN_A_LINE)
    ]
    assert loose == []
    bound = [one for one in FIELDS if one not in NAMES and one[4].get("pattern") == LINE]
    assert bound == []


@pytest.mark.parametrize(("method", "path"), sorted({(one[0], one[1]) for one in NAMES}))
def test_a_name_that_is_not_one_line_is_refused_by_its_pointer(
    api: ApiProcess, admin: httpx2.Client, method: str, path: str
) -> None:
    for _, _, told, place, schema in [one for one in NAMES if (one[0], one[1]) == (method, path)]:
        for bad in NOT_IN_A_LINE:
            body = json.dumps(placed(schema_of(told), a_body(told), place, f"a{bad}b"))
            problem = refused(admin.request(method, address(path), content=body, headers=JSON), 422)
            found = [one for one in problem["errors"] if one["pointer"] == "/" + "/".join(map(str, place))]
            assert found, (place, problem)
            if schema.get("pattern") == LINE:
                assert any(one["code"] == "invalid_characters" and "U+" in one["detail"] for one in found), found
