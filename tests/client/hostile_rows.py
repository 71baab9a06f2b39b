"""Fills a database with hostile texts: control characters and markup, as older versions accepted them in names."""

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, String, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.audit.models import AuditEntry
from app.auth.models import ApiKey, Group, GroupMember, User
from app.db import Base
from app.devices.models import DeviceHold, Worker
from app.jobs.models import Job
from app.jobs.states import State
from app.judges.models import Judge
from app.models.models import Model
from app.quotas.models import Quota
from app.quotas.usage_models import UsageDay
from app.traits.models import Trait
from app.webhooks.models import WebhookDelivery, WebhookTarget
from tests.api.world import MAKERS, World

HOSTILE = "[/b]\x1b[2J\u009b31m\u202e\r\nFORGED [link=x:]y[/link] :boom:\t\x07\u2028\u2066\x7f"
MARKUP = "[/b]"
"""The part of HOSTILE that must be printed unchanged: harmless unless it is taken for markup."""
MEANT = frozenset(
    {"kind", "job_class", "state", "visibility", "role", "outcome", "digest", "version", "spec_hash", "salt", "needs", "lane", "type",
     "component", "method", "position", "key", "weight_hash", "reading_hash"}
)  # fmt: skip
"""Columns that the service fills with words of its own, so that they cannot be hostile."""


def fill(world: World) -> None:
    """Makes one object of every kind, then writes HOSTILE into every column with text from a user, a model or a worker."""
    for kind in MAKERS:
        world.get(kind)
    with world.api.sessions.begin() as session:
        session.add_all([User(name=HOSTILE, created_by=HOSTILE), Group(name=HOSTILE, created_by=HOSTILE)])
        session.add(WebhookTarget(name=HOSTILE, url=f"http://x/{HOSTILE}", salt="0" * 32, created_by=HOSTILE))
        session.flush()
        session.add_all(
            [
                GroupMember(group_name=HOSTILE, user_name=HOSTILE),
                Model(name=HOSTILE, source=HOSTILE, state="faulty", facts={"layers": HOSTILE}, fault=None, created_by=HOSTILE),
                Judge(name=HOSTILE, kind="openai", model=HOSTILE, url=HOSTILE, created_by=HOSTILE),
                Quota(owner=HOSTILE, max_queued=3, changed_by=HOSTILE),
                UsageDay(owner=HOSTILE, day=datetime.now(UTC).date(), job_class="model", device_seconds=3.0, attempts=1),
                AuditEntry(id="aud_hostile", actor=HOSTILE, action=HOSTILE, object=HOSTILE, details={HOSTILE: HOSTILE}),
                WebhookDelivery(id="whd_hostile", target=HOSTILE, body={}, state="delivered", error=HOSTILE, finished_at=datetime.now(UTC)),
                worker(f"a{HOSTILE}", blocked={"code": "x", "detail": HOSTILE}),
                worker(f"b{HOSTILE}"),
                DeviceHold(worker_id=f"b{HOSTILE}", mode="paused", reason=HOSTILE, held_by=HOSTILE),
            ]
        )  # fmt: skip
        session.flush()
        counts = {"positive": 2, "negative": 2, "selection": 1, "test": 1, "clusters": {"positive": 2, "test": 1}}
        session.execute(update(Trait).values(counts=counts))
        session.execute(update(Job).values(error={"code": "broken", "detail": "It broke."}).where(Job.state == State.FAILED))
        spoil(session)
        told = {name: {"id": f"{name}_id", HOSTILE: HOSTILE} for name in ("calibration", "extraction", "steering", "study")}
        session.execute(update(Job).values(result=told).where(Job.state == State.SUCCEEDED))


def worker(name: str, **more: Any) -> Worker:
    """A live worker that reports a hostile device, host and model."""
    said = {"device": HOSTILE, "host": HOSTILE, "models": [HOSTILE]}
    return Worker(id=name, job_class="model", version="1", parent_pid=1, **said, **more)


def spoil(session: Session) -> None:
    """Appends HOSTILE to the texts of every row of every table, except where a key, a constraint or MEANT forbids it."""
    for table in Base.metadata.sorted_tables:
        checks = " ".join(str(one.sqltext) for one in table.constraints if isinstance(one, CheckConstraint))
        own = [
            column
            for column in table.columns
            if not (column.primary_key or column.foreign_keys or column.name in MEANT or column.name.endswith("_id"))
            and not re.search(rf"\b{column.name}\b", checks)
        ]
        if table.name in ("api_keys", "blobs", "users", "groups", "idempotency_keys"):
            own = [column for column in own if column.name in ("label", "created_by")]
        for row in session.execute(table.select()).all():
            values = {column.name: spoiled(column, getattr(row, column.name)) for column in own}
            changed = {name: value for name, value in values.items() if value is not None}
            if changed:
                here = [column == getattr(row, column.name) for column in table.primary_key]
                session.execute(update(table).where(*here).values(**changed))
    session.execute(update(ApiKey).values(label=HOSTILE))


def spoiled(column: Any, value: Any) -> Any:
    """The value with HOSTILE appended; None where the column holds no text."""
    if isinstance(column.type, JSONB):
        return deep(value) if value else None
    if isinstance(column.type, ARRAY):
        return [HOSTILE] if isinstance(column.type.item_type, String) else None
    if isinstance(column.type, String) and (value is not None or column.name in ("name", "notes")):
        return f"{value or ''}{HOSTILE}"[: column.type.length or 10_000]
    return None


def deep(value: Any) -> Any:
    """The JSON value with HOSTILE appended to every string in it, but not to the names of fields."""
    if isinstance(value, dict):
        return {name: deep(one) for name, one in value.items()}
    if isinstance(value, list):
        return [deep(one) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value
