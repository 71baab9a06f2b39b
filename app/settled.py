"""Caches database answers within a block of code, so that hundreds of jobs of one graph are checked with a few statements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

P = ParamSpec("P")
T = TypeVar("T")
_ANSWERS = "answers"


@contextmanager
def asked_once(session: Session) -> Iterator[None]:
    """Returns a context in which functions marked `settled` query the database once per distinct set of arguments.

    Nested contexts share the answers of the outer one.
    """
    if _ANSWERS in session.info:
        yield
        return
    session.info[_ANSWERS] = {}
    try:
        yield
    finally:
        del session.info[_ANSWERS]


def settled(ask: Callable[Concatenate[Session, P], T]) -> Callable[Concatenate[Session, P], T]:
    """Returns `ask` with a cache of its answers within `asked_once`; a decorator. `ask` must only read; its arguments must be hashable."""

    @wraps(ask)
    def answered(session: Session, /, *args: P.args, **named: P.kwargs) -> T:
        answers = session.info.get(_ANSWERS)
        if answers is None:
            return ask(session, *args, **named)
        key = (ask, args, tuple(sorted(named.items())))
        if key not in answers:
            answers[key] = ask(session, *args, **named)
        answer: T = answers[key]
        return answer

    return answered
