"""Renames fields and parameters of the API: requests may use the old name or the new one, answers carry both.

A new name exists only at the HTTP edge. In Python, in stored specs and in stored documents a field keeps its old name, so that hashes,
repeated requests, retries and `reuse` of earlier jobs still work. Declare a renamed field under its old name, with the new name first:

    class Request(RenamedRequest):  # accepts {"dose": 0.5} and {"r": 0.5}
        r: float = Field(validation_alias=AliasChoices("dose", "r"))

    class Answer(RenamedAnswer):  # sends {"dose": 0.5, "r": 0.5}
        r: float = Field(validation_alias=AliasChoices("dose", "r"))

The old names of a request are noted on its way: the gate calls `listening` before validation, validation notes each old name, then the gate
adds the `Deprecation` header, and errors point to the name that was sent (`as_sent`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.errors import Problem
from terms.values import Json, JsonField, JsonObject

Value = TypeVar("Value")
Sent = TypeVar("Sent")
SINCE = datetime(2026, 11, 27, tzinfo=UTC)
"""When the old names were deprecated."""
HEADER = "Deprecation"

_heard: ContextVar[dict[str, str] | None] = ContextVar("old_names", default=None)
"""The old names that the present request used, with their new names; None outside a request."""


def listening() -> Mapping[str, str]:
    """Starts recording the old names used by this request, and returns them with their new names; filled during validation."""
    heard: dict[str, str] = {}
    _heard.set(heard)
    return heard


def deprecation() -> str:
    """Returns the value of the `Deprecation` header (RFC 9745): the time of deprecation, in seconds since 1970."""
    return f"@{int(SINCE.timestamp())}"


def _hear(old: str, new: str) -> None:
    heard = _heard.get()
    if heard is not None:
        heard[old] = new


def as_sent(pointer: str) -> str:
    """Returns the JSON pointer with the name that the request used for the field."""
    for old, new in (_heard.get() or {}).items():
        if pointer == f"/{new}" or pointer.startswith(f"/{new}/"):
            return f"/{old}{pointer[len(new) + 1 :]}"
    return pointer


class RenamedRequest(BaseModel):
    """A request with renamed fields: accepts either name, and both if their values are equal."""

    @classmethod
    @cache
    def renamed(cls) -> Mapping[str, str]:
        """Returns the new name of each renamed field, by its old name."""
        aliases = {old: field.validation_alias for old, field in cls.model_fields.items()}
        return {old: str(alias.choices[0]) for old, alias in aliases.items() if isinstance(alias, AliasChoices)}

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, sent: Sent) -> Sent | JsonObject:
        if not isinstance(sent, Mapping):
            return sent
        once = dict(sent)
        for old, new in cls.renamed().items():
            if old not in once:
                continue
            if new in once and once[new] != once[old]:
                differ = f"/{new} and /{old} are two names of one field, with different values. Give /{new} alone; /{old} is its old name."
                raise PydanticCustomError("both_names", "{error}", {"error": differ})
            if new in once:
                del once[old]
            cls._used(old, new)
        return once

    @classmethod
    def _used(cls, old: str, new: str) -> None:
        _hear(old, new)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describes both names, the old name as deprecated."""
        told = handler(_unserialized(core))
        schema = handler.resolve_ref_schema(told)
        properties, required = schema["properties"], schema.get("required", [])
        for old, new in cls.renamed().items():
            field = properties.pop(new, None) or properties.pop(old)
            titled = "title" in field
            properties[new] = field | ({"title": _title(new)} if titled else {})
            properties[old] = field | ({"title": _title(old)} if titled else {}) | _old(new)
            if {old, new} & set(required):
                schema["required"] = required = sorted({*required, *cls._always(old, new)})
        return told

    @classmethod
    def _always(cls, _old_name: str, new: str) -> Iterable[str]:
        """Returns the names under which a required field must be present."""
        return (new,)


class RenamedAnswer(RenamedRequest):
    """An answer with renamed fields: sends each under both names."""

    @model_serializer(mode="wrap")
    def _both_names(self, write: SerializerFunctionWrapHandler) -> JsonField:
        body: JsonObject = write(self)
        return body | {new: body[old] for old, new in self.renamed().items() if old in body}

    @classmethod
    def _used(cls, old: str, new: str) -> None:
        """Does nothing: the service fills in its answers by old names, which does not count as a client's use of old names."""

    @classmethod
    def _always(cls, old: str, new: str) -> Iterable[str]:
        return (old, new)


def _unserialized(core: CoreSchema) -> CoreSchema:
    """Returns the model's schema without its serializer, which would hide the fields from the description."""
    plain = {name: value for name, value in core.items() if name != "serialization"}
    if plain["type"] != "model":
        plain["schema"] = _unserialized(cast(CoreSchema, plain["schema"]))
    return cast(CoreSchema, plain)


def _title(name: str) -> str:
    return name.replace("_", " ").title()


def _old(new: str) -> JsonObject:
    return {"deprecated": True, "description": f"the old name of `{new}`"}


def either(new: str, value: Value | None, old: str, old_value: Value | None) -> Value | None:
    """Returns the value of a query parameter with two names. Raises Problem 422 when both are given and differ."""
    if old_value is None:
        return value
    _hear(old, new)
    if value is None or value == old_value:
        return old_value
    detail = f"{new} and {old} are two names of one parameter, with different values. Give {new} alone; {old} is its old name."
    errors = [{"pointer": "", "parameter": f"query.{name}", "detail": detail, "code": "both_names"} for name in (new, old)]
    raise Problem(422, "both_names", detail, errors=errors)


def with_new_names(document: Mapping[str, Json], names: Mapping[str, str]) -> JsonObject:
    """Returns a stored document in which each value under an old name also appears under its new name.

    Objects under such a name are not copied: the name may be that of a trait or a method.
    """
    known = {name: _named_anew(value, names) for name, value in document.items()}
    both = {names[name]: value for name, value in known.items() if name in names and not isinstance(value, Mapping)}
    return both | known


def _named_anew(value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, Mapping):
        return with_new_names(value, names)
    return value if isinstance(value, str) or not isinstance(value, Sequence) else [_named_anew(inner, names) for inner in value]
