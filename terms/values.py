"""What JSON can hold, for content that the service passes on as it came and gives no meaning to."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = bool | int | float | str | Sequence[Any] | Mapping[str, Any] | None

JsonObject = dict[str, Any]
"""An object with fields that differ by content, as it is stored and sent: read one of its fields by way of a type in `terms`."""
