"""Two transactions on real connections, one of them held after a chosen statement until the other has ended or waits for it."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker

LOCKING = re.compile(r"^\s*(UPDATE|DELETE)\b|\bFOR (NO KEY UPDATE|UPDATE|SHARE|KEY SHARE)\b|INTO owner_turns", re.IGNORECASE)
"""Statements that take a lock which another transaction may wait for."""
PATIENCE = 10.0
Operation = Callable[[], object]


@dataclass
class _Held:
    """A thread that stops after its `after`th statement that takes a lock, until `go_on`."""

    after: int
    taken: int = 0
    there: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


class Undone:
    """Sessions that roll back every transaction at its end, so that the next pair finds the same rows. Locks are held until then."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def __call__(self) -> Session:
        return self._sessions()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._sessions() as session:
            yield session
            session.flush()
            session.rollback()


class Interleaving:
    """Runs pairs of operations on an engine, and records every deadlock that the database broke up."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[int, _Held] = {}
        self.deadlocks: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        listeners: list[tuple[str, Callable[..., None]]] = [
            ("connect", self._connected),
            ("after_cursor_execute", self._executed),
            ("handle_error", self._failed),
        ]
        for name, listener in listeners:
            event.listen(self._engine, name, listener)
        self._engine.dispose()
        yield
        for name, listener in listeners:
            event.remove(self._engine, name, listener)

    def run(self, first: Operation, second: Operation, *, after: int) -> bool:
        """Holds `first` after its `after`th locking statement while `second` runs. False when `first` has no such statement."""
        held = _Held(after)
        one, two = threading.Thread(target=self._act, args=(first, held)), threading.Thread(target=self._act, args=(second, None))
        one.start()
        while one.is_alive() and not held.there.wait(0.002):
            pass
        reached = held.there.is_set()
        if reached:
            two.start()
            deadline = time.monotonic() + PATIENCE
            while two.is_alive() and not self._anyone_waits():
                assert time.monotonic() < deadline, "the second operation neither ended nor waits for a lock"
                two.join(0.002)
        held.go_on.set()
        one.join(PATIENCE)
        if reached:
            two.join(PATIENCE)
        assert not one.is_alive() and not two.is_alive(), "an operation did not end"  # noqa: PT018
        return reached

    def _act(self, operation: Operation, held: _Held | None) -> None:
        if held is not None:
            self._held[threading.get_ident()] = held
        try:
            operation()
        except Exception:  # what conflicts may be refused; deadlocks are counted where the database reports them
            pass
        finally:
            self._held.pop(threading.get_ident(), None)

    def _anyone_waits(self) -> bool:
        with self._engine.connect() as connection:
            return bool(
                connection.scalar(
                    text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
                )
            )

    @staticmethod
    def _connected(connection: Any, _record: object) -> None:
        connection.execute("SET deadlock_timeout = '20ms'")
        connection.commit()

    def _executed(self, _c: object, _cursor: object, statement: str, _p: object, _x: object, _many: bool) -> None:
        held = self._held.get(threading.get_ident())
        if held is None or not LOCKING.search(statement):
            return
        held.taken += 1
        if held.taken == held.after:
            held.there.set()
            held.go_on.wait(PATIENCE)

    def _failed(self, context: Any) -> None:
        if getattr(context.original_exception, "sqlstate", None) == "40P01":
            self.deadlocks.append(str(context.original_exception))
