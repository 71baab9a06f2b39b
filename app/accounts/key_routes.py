"""HTTP routes of API keys, for administrators only. The key itself appears only in the answer that creates it."""

from typing import Annotated

from fastapi import Body, Depends, Path, Query, Response

from app.accounts import keys
from app.accounts.schemas import KeyOut, KeyPage, KeyRequest, NewKeyOut, RotateRequest
from app.auth import keyless
from app.auth.viewer import Viewer
from app.http.access import Admin, keyed_router
from app.http.context import Shared
from app.http.paging import Cursor, Limit
from app.http.problems import documented

router = keyed_router(prefix="/v1/keys", tag="access")

KeyId = Annotated[str, Path(pattern=r"^[0-9A-Za-z]{8}$", description="a key's id: the part after bnk_", examples=["Xk3v9QaZ"])]
DEFAULT_ROTATION = RotateRequest()


async def require_keys(viewer: Admin, context: Shared) -> Viewer:
    """Returns the administrator who calls. Raises Problem 409 on a server without keys."""
    if context.settings.auth == "off":
        raise keyless.no_keys()
    return viewer


KeyMaker = Annotated[Viewer, Depends(require_keys)]


@router.get("", operation_id="listKeys", summary="List keys", responses=documented(403, 422))
async def list_keys(
    _viewer: Admin,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    owner: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    live: Annotated[bool, Query(description="only keys that are neither revoked nor expired")] = False,
) -> KeyPage:
    """Returns the keys, newest first, including revoked and expired keys. Administrators only."""

    return await KeyPage.newest(
        context,
        lambda session, before, count: keys.listing(session, owner=owner, live=live, limit=count, before=before),
        scope=f"keys {owner} {live}",
        limit=limit,
        cursor=cursor,
        key=lambda key: (key.created_at, key.id),
    )


@router.post(
    "", operation_id="createKey", summary="Create a key", status_code=201, responses=documented(400, 403, 409, 413, 415, 422)
)
async def create_key(
    body: Annotated[KeyRequest, Body(examples=[{"owner": "ada", "role": "member", "days": 180, "label": "laptop"}])],
    viewer: KeyMaker,
    context: Shared,
    response: Response,
) -> NewKeyOut:
    """Makes a key, which only this answer contains. Administrators only."""
    response.headers["Cache-Control"] = "no-store"
    return await context.database.run(keys.create, body, viewer, context.settings.key_pepper.get_secret_value())


@router.get("/{key_id}", operation_id="getKey", summary="Get a key", responses=documented(403, 404, 422))
async def get_key(key_id: KeyId, _viewer: Admin, context: Shared) -> KeyOut:
    """Returns a key without its text, which is not stored. Administrators only."""
    return await context.database.read(keys.find, key_id)


@router.post(
    "/{key_id}/rotate",
    operation_id="rotateKey",
    summary="Rotate a key",
    status_code=201,
    responses=documented(400, 403, 404, 409, 413, 415, 422),
)
async def rotate_key(
    key_id: KeyId, viewer: KeyMaker, context: Shared, response: Response, body: RotateRequest = DEFAULT_ROTATION
) -> NewKeyOut:
    """Makes a new key with the same user, role and scopes; both are valid until the overlap ends. Administrators only."""
    response.headers["Cache-Control"] = "no-store"
    return await context.database.run(keys.rotate, key_id, body, viewer, context.settings.key_pepper.get_secret_value())


@router.post("/{key_id}/revoke", operation_id="revokeKey", summary="Revoke a key", responses=documented(403, 404, 409, 422))
async def revoke_key(key_id: KeyId, viewer: Admin, context: Shared) -> KeyOut:
    """Revokes the key: it stops working within five seconds, also for requests in progress. Administrators only; a key cannot revoke itself."""
    return await context.database.run(keys.revoke, key_id, viewer)
