"""Reads a model folder's JSON files."""

import json
from pathlib import Path

from terms.values import JsonObject
from workers.lm.errors import ModelFault


def read_json(file: Path) -> JsonObject:
    """The JSON object in `file`. Raises ModelFault not_a_model_folder when the file does not hold a JSON object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFault("not_a_model_folder", f"{file.name} in {file.parent} cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ModelFault("not_a_model_folder", f"{file.name} in {file.parent} must hold a JSON object.")
    return value
