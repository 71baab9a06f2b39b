"""Whether files and results that jobs wrote are what `terms.documents` says: every key known, none missing, each value of its type."""

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from terms import documents, specs

for _module in (specs, *(import_module(f"{documents.__name__}.{one.name}") for one in pkgutil.iter_modules(documents.__path__))):
    for _name, _shape in inspect.getmembers(_module, is_typeddict):
        _shape.__pydantic_config__ = {"extra": "forbid", "strict": True}


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def fault(shape: Any, document: Any) -> str | None:
    """What is wrong with the document; None for a good one."""
    try:
        _adapter(shape).validate_python(document)
    except ValidationError as error:
        return str(error)
    return None
