"""Reads the header `Idempotency-Key` as the promise that `app.jobs.service.submit` keeps."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from fastapi import Header
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import AsyncDatabase
from app.errors import Problem
from app.jobs.submission import Idempotency
from app.planner import Planner
from terms.values import JsonObject

T = TypeVar("T")
P = ParamSpec("P")

KEY = re.compile(r"[\x21-\x7e]{1,255}")
IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="For 7 days, requests with the same key, owner and route are one submission. 1 to 255 visible ASCII characters",
        examples=["7f9c0e52-calibrate-severe"],
    ),
]


def idempotency(route: str, key: str | None, body: JsonObject) -> Idempotency | None:
    """Returns the request's idempotency key with its route and body, or None without the header. Raises Problem 422 for an invalid key."""
    if key is None:
        return None
    if KEY.fullmatch(key) is None:
        detail = "Idempotency-Key must be 1 to 255 visible ASCII characters without spaces, such as a UUID."
        errors = [{"pointer": "", "parameter": "header.idempotency-key", "detail": detail, "code": "invalid_idempotency_key"}]
        raise Problem(422, "invalid_idempotency_key", detail, errors=errors)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Idempotency(route, key, hashlib.sha256(canonical.encode()).hexdigest())


async def once(
    database: AsyncDatabase | Planner, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Runs `work` in a transaction. Raises Problem 409 when an earlier request under the same key is still being processed after two seconds."""
    try:
        return await database.run(work, *args, **kwargs)
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        detail = (
            "An earlier request with this Idempotency-Key is still being processed. Nothing was done; send the "
            "same request again in a moment."
        )
        raise Problem(409, "idempotency_key_busy", detail, headers={"Retry-After": "2"}) from error
