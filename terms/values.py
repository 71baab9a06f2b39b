"""Types of JSON values, for content that the service passes on unchanged without interpreting it."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import TypeAliasType

Json = TypeAliasType("Json", "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None")
"""Any JSON value. mypy demands that code looks at what the value is before it uses it, and accepts no TypedDict as one."""

JsonObject = dict[str, Json]
"""A JSON object with keys that differ by content. To read a key, use a type in `terms`, or look at what the value is."""

JsonField = dict[str, Any]
"""The same as a field of a pydantic model or in an OpenAPI example, where a union of types would change the schema and the validation."""
