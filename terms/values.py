"""Types of JSON values, for content that the service passes on unchanged without interpreting it."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = bool | int | float | str | Sequence[Any] | Mapping[str, Any] | None

JsonObject = dict[str, Any]
"""A JSON object with keys that differ by content. To read a key, use a type in `terms`."""
