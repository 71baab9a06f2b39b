"""Sets and removes quotas. Functions run in the caller's transaction."""

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.models import User
from app.auth.viewer import Viewer
from app.bell import ring_after_commit
from app.errors import not_found
from app.quotas import repository
from app.quotas.limits import NAMES, effective
from app.quotas.models import EVERYBODY, UNLIMITED, Quota
from app.quotas.schemas import QuotaList, QuotaOut, QuotaRequest, limits_out


def put(session: Session, owner: str, request: QuotaRequest, viewer: Viewer) -> QuotaOut:
    """Sets the quota of a user (EVERYBODY: the server-wide quota) as a whole; it applies to later submissions and claims.

    Raises Problem 404 if the user does not exist (on a server without keys, the only user is not in the table).
    """
    _check_exists(session, owner, viewer)
    before = _said(session.get(Quota, owner))
    values = {name: UNLIMITED if (said := getattr(request, name)) == "unlimited" else said for name in NAMES}
    quota = repository.put(session, owner, values, viewer.owner)
    after = _said(quota).model_dump()
    audit.record(session, viewer, "quota.set", owner, before=before.model_dump(), after=after)
    ring_after_commit(session, "model")  # jobs held back by the old limit may run now
    return _view(quota, session.get(Quota, EVERYBODY), owner)


def _check_exists(session: Session, owner: str, viewer: Viewer) -> None:
    """Raises Problem 404 unless the user exists (on a server without keys, the caller does) or is EVERYBODY."""
    if owner not in (EVERYBODY, viewer.owner) and session.get(User, owner) is None:
        raise not_found("user", owner)


def remove(session: Session, owner: str, viewer: Viewer) -> None:
    """Removes a user's quota, so that the server-wide quota applies. Raises Problem 404 when the user has no quota of their own."""
    before = _said(session.get(Quota, owner)).model_dump()
    if not repository.remove(session, owner):
        raise not_found("quota of", owner)
    audit.record(session, viewer, "quota.remove", owner, before=before)
    ring_after_commit(session, "model")


def find(session: Session, owner: str, viewer: Viewer) -> QuotaOut:
    """Returns the limits that apply to a user, with or without own limits.

    Raises Problem 404 for another user unless an administrator asks, and for a user who does not exist.
    """
    if not viewer.manages(owner):
        raise not_found("quota of", owner)
    _check_exists(session, owner, viewer)
    return _view(session.get(Quota, owner), session.get(Quota, EVERYBODY), owner)


def listing(session: Session) -> QuotaList:
    """Returns the server-wide quota and every user's own quota."""
    default = session.get(Quota, EVERYBODY)  # once: a session does not remember that a row is missing
    items = [_view(quota, default, quota.owner) for quota in repository.listing(session)]
    return QuotaList(default=_view(default, default, EVERYBODY), items=items)


def _view(quota: Quota | None, default: Quota | None, name: str) -> QuotaOut:
    return QuotaOut(
        user=None if name == EVERYBODY else name,
        said=_said(quota),
        limits=limits_out(effective(quota, default)),
        changed_by=None if quota is None else quota.changed_by,
        changed_at=None if quota is None else quota.changed_at,
    )


def _said(quota: Quota | None) -> QuotaRequest:
    values = {name: getattr(quota, name, None) for name in NAMES}
    return QuotaRequest.model_validate({name: "unlimited" if value == UNLIMITED else value for name, value in values.items()})
