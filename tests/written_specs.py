"""Whether specs that the service wrote are what `terms.specs` says: every key known, none missing, each value of its type."""

import inspect
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from typing_extensions import is_typeddict

from app.jobs.models import Job
from terms import specs

for _name, _shape in inspect.getmembers(specs, is_typeddict):
    _shape.__pydantic_config__ = {"extra": "forbid", "strict": True}


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def fault(kind: str, spec: dict[str, Any]) -> str | None:
    """What is wrong with the spec of a job of this kind; None for a good one."""
    said = []
    for shape in specs.BY_KIND[kind]:
        try:
            _adapter(shape).validate_python(spec)
        except ValidationError as error:
            said.append(str(error))
        else:
            return None
    return "\n".join(said)


def check_written(sessions: sessionmaker[Session]) -> None:
    """Raises AssertionError for a wrong spec of any job that a request made; those that a test made by itself may have half of one."""
    with sessions() as session:
        for kind, spec in session.execute(select(Job.kind, Job.spec).where(Job.request_id.is_not(None))):
            if spec:
                assert (said := fault(kind, spec)) is None, f"the spec of a {kind} job: {said}"
