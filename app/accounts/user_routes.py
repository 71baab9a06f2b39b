"""Routes of users. Administrators only, except `/v1/me`, which shows the caller."""

from typing import Annotated

from fastapi import Path, Query

from app.accounts import users
from app.accounts.schemas import MeOut, UserEdit, UserOut, UserPage, UserRequest
from app.auth.sharing import NAME
from app.http.access import Admin, Caller, keyed_router
from app.http.context import Shared
from app.http.paging import Limit
from app.http.problems import documented

router = keyed_router(prefix="/v1/users", tag="access")
own_router = keyed_router(prefix="/v1/me", tag="access")

UserName = Annotated[str, Path(pattern=NAME, examples=["ada"])]


@own_router.get("", operation_id="getMe", summary="The user of your key", responses=documented())
async def get_me(viewer: Caller) -> MeOut:
    """Returns the user, role and scopes of your key, and your groups."""
    return users.me(viewer)


@router.get("", operation_id="listUsers", summary="List users", responses=documented(403, 422))
async def list_users(
    _viewer: Admin,
    context: Shared,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=NAME, description="`next_cursor` of the page before")] = None,
) -> UserPage:
    """Returns the users, by name, including disabled users. Administrators only."""
    listed = await context.database.read(users.listing, limit=limit + 1, after=cursor)
    return UserPage.of(listed, limit, lambda last: last.name)


@router.post(
    "", operation_id="createUser", summary="Create a user", status_code=201, responses=documented(400, 403, 409, 413, 415, 422)
)
async def create_user(body: UserRequest, viewer: Admin, context: Shared) -> UserOut:
    """Creates a user, who can have keys and be in groups. Making a key also makes its user. Administrators only."""
    return await context.database.run(users.create, body.name, viewer)


@router.get("/{name}", operation_id="getUser", summary="Get a user", responses=documented(403, 404, 422))
async def get_user(name: UserName, _viewer: Admin, context: Shared) -> UserOut:
    """Returns the user, with groups and the number of live keys. Administrators only."""
    return await context.database.read(users.find, name)


@router.patch(
    "/{name}",
    operation_id="editUser",
    summary="Disable or enable a user",
    responses=documented(400, 403, 404, 409, 413, 415, 422),
)
async def edit_user(name: UserName, body: UserEdit, viewer: Admin, context: Shared) -> UserOut:
    """Disables or enables a user. The keys of a disabled user stop working within five seconds; jobs and results stay. Administrators only; you
    cannot disable yourself."""
    return await context.database.run(users.edit, name, body, viewer)
