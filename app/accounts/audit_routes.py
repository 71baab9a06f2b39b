"""HTTP routes of the audit table. Administrators only."""

from typing import Annotated, Literal

from fastapi import Query
from sqlalchemy.orm import Session

from app.accounts.audit_schemas import AuditOut, AuditPage
from app.audit import service
from app.audit.repository import AuditFilters
from app.http.access import Admin, keyed_router
from app.http.context import Shared
from app.http.paging import Cursor, Limit, Moment
from app.http.problems import documented
from app.http.renamed import either
from app.moments import TimeAndId

router = keyed_router(prefix="/v1/audit", tag="access")

KeyId = Annotated[str | None, Query(max_length=12, pattern=r"^[0-9A-Za-z]*$", description="a key's id")]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("", operation_id="listAudit", summary="List administrative actions", responses=documented(403, 422))
async def list_audit(  # one parameter for each filter of the query string
    _viewer: Admin,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    actor: Text = None,
    key_id: KeyId = None,
    key: Annotated[KeyId, Query(deprecated=True, description="the old name of `key_id`")] = None,
    action: Annotated[
        str | None,
        Query(
            max_length=60, pattern=r"^[a-z_.]*$", description="an action such as `key.revoke`, or `key` for every action on keys"
        ),
    ] = None,
    object: Text = None,  # noqa: A002 - the word for what is acted on
    outcome: Literal["done", "denied"] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> AuditPage:
    """Returns the actions, newest first: changes of keys, users, groups, models, judges, quotas and visibility, actions on other users' jobs,
    deletions, and requests refused without an administrator's key. Administrators only."""
    by_key = either("key_id", key_id, "key", key)
    filters = AuditFilters(actor=actor, key=by_key, action=action, object=object, outcome=outcome, since=since, until=until)

    def page(session: Session, before: TimeAndId | None, count: int) -> list[AuditOut]:
        entries = service.listing(session, filters, limit=count, before=before)
        return [AuditOut.model_validate(entry, from_attributes=True) for entry in entries]

    return await AuditPage.newest(context, page, scope=f"audit {filters}", limit=limit, cursor=cursor, key=_place)


def _place(entry: AuditOut) -> TimeAndId:
    return entry.at, entry.id
