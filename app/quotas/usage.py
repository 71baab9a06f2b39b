"""Computes each user's use of devices and storage, from recorded time, the queue and references to objects."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth.models import User
from app.auth.viewer import Viewer
from app.errors import not_found
from app.quotas import usage_repository as repository
from app.quotas.limits import Limits, effective
from app.quotas.models import EVERYBODY, Quota
from app.quotas.schemas import limits_out
from app.quotas.usage_models import UsageDay
from app.quotas.usage_repository import Stored, UnderWay
from app.quotas.usage_schemas import DayOut, UsageOut, UserUsage


def usage(session: Session, viewer: Viewer, *, user: str | None, days: int) -> UsageOut:
    """Returns the usage of one user, or of all users visible to the viewer.

    Raises Problem 404 for another user unless an administrator asks, and for a name that has neither usage nor a user.
    """
    if user is not None and not viewer.manages(user):
        raise not_found("user", user)
    owner = user if user is not None or viewer.is_admin else viewer.owner
    today = repository.today(session)
    since = today - timedelta(days=days - 1)
    stored, under_way = repository.stored(session, owner, shared=viewer.is_admin), repository.under_way(session, owner)
    booked = repository.days(session, owner, since=since)
    if owner is not None and owner != viewer.owner and not {*stored, *under_way, *booked} and session.get(User, owner) is None:
        raise not_found("user", owner)
    names = sorted({*stored, *under_way, *booked} | ({owner} if owner is not None else set()))
    quotas = {quota.owner: quota for quota in session.scalars(select(Quota).where(Quota.owner.in_([*names, EVERYBODY])))}
    items = []
    for name in names:
        limits = effective(quotas.get(name), quotas.get(EVERYBODY))
        of_user = (stored.get(name, Stored()), under_way.get(name, UnderWay()), booked.get(name, ()))
        items.append(_view(name, *of_user, limits, today, shared=viewer.is_admin))
    items.sort(key=lambda item: (-item.device_seconds, -item.stored_bytes, item.user))
    resets = datetime.combine(today + timedelta(days=1), time(), UTC)
    return UsageOut(
        since=since, resets_at=resets, on_disk_bytes=repository.on_disk(session) if viewer.is_admin else None, items=items
    )


def _view(
    name: str, stored: Stored, under_way: UnderWay, booked: Sequence[UsageDay], limits: Limits, today: date, *, shared: bool
) -> UserUsage:
    """Returns a user's usage. `shared`: includes the bytes that other users also refer to, which reveals whether another user has an object."""
    by_day = {row.day: DayOut(day=row.day, device_seconds=0, light_seconds=0, attempts=0) for row in booked}
    for row in booked:
        day = by_day[row.day]
        day.attempts += row.attempts
        if row.job_class == "model":
            day.device_seconds = round(row.device_seconds, 3)
        else:
            day.light_seconds = round(row.device_seconds, 3)
    booked_today = by_day[today].device_seconds if today in by_day else 0.0
    return UserUsage(
        user=name, stored_bytes=stored.bytes, shared_bytes=stored.shared if shared else None, objects=stored.objects,
        queued=under_way.queued, running=under_way.running, running_seconds=round(under_way.running_seconds, 3),
        device_seconds_today=round(booked_today + under_way.running_seconds, 3),
        device_seconds=round(sum(day.device_seconds for day in by_day.values()) + under_way.running_seconds, 3),
        days=list(by_day.values()), limits=limits_out(limits),
    )  # fmt: skip
