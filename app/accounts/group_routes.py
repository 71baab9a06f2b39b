"""Routes of groups. Administrators only; `/v1/me` shows the caller's own groups."""

from typing import Annotated

from fastapi import Path, Response

from app.accounts import groups
from app.accounts.schemas import GroupList, GroupOut, GroupRequest
from app.auth.sharing import NAME
from app.http.access import Admin, keyed_router
from app.http.context import Shared
from app.http.problems import documented

router = keyed_router(prefix="/v1/groups", tag="access")

GroupName = Annotated[str, Path(pattern=NAME, examples=["interp"])]
UserName = Annotated[str, Path(pattern=NAME, examples=["ada"])]


@router.get("", operation_id="listGroups", summary="List groups", responses=documented(403))
async def list_groups(_viewer: Admin, context: Shared) -> GroupList:
    """Returns the groups, by name, with their members. Administrators only."""
    return await context.database.read(groups.listing)


@router.post(
    "", operation_id="createGroup", summary="Create a group", status_code=201, responses=documented(400, 403, 409, 413, 415, 422)
)
async def create_group(body: GroupRequest, viewer: Admin, context: Shared) -> GroupOut:
    """Creates a group without members. Administrators only."""
    return await context.database.run(groups.create, body.name, viewer)


@router.get("/{name}", operation_id="getGroup", summary="Get a group", responses=documented(403, 404, 422))
async def get_group(name: GroupName, _viewer: Admin, context: Shared) -> GroupOut:
    """Returns the group with its members. Administrators only."""
    return await context.database.read(groups.find, name)


@router.delete(
    "/{name}",
    operation_id="deleteGroup",
    summary="Delete a group",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404, 422),
)
async def delete_group(name: GroupName, viewer: Admin, context: Shared) -> None:
    """Deletes the group. Objects shared with it become private, and stay private if a new group takes the name. Administrators only."""
    await context.database.run(groups.delete, name, viewer)


@router.put(
    "/{name}/members/{user}", operation_id="addMember", summary="Add a user to a group", responses=documented(403, 404, 422)
)
async def add_member(name: GroupName, user: UserName, viewer: Admin, context: Shared) -> GroupOut:
    """Adds the user to the group. Within five seconds the user sees the objects that are shared with the group. Administrators only."""
    return await context.database.run(groups.add_member, name, user, viewer)


@router.delete(
    "/{name}/members/{user}",
    operation_id="removeMember",
    summary="Remove a user from a group",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404, 422),
)
async def remove_member(name: GroupName, user: UserName, viewer: Admin, context: Shared) -> None:
    """Removes the user from the group, who then no longer sees objects that others share with it; objects that the user shared stay shared.
    Administrators only."""
    await context.database.run(groups.remove_member, name, user, viewer)
