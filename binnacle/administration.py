"""What administrators do over the client: users, groups, keys, and the record of it all. What they return are the API's own JSON bodies."""

from collections.abc import Callable, Iterator
from typing import Any

from binnacle.connection import Connection

Body = dict[str, Any]


class Administration:
    """`client.admin`. Needs an administrator's key."""

    def __init__(self, connection: Connection, pages: Callable[[str, Body, int | None], Iterator[Body]]) -> None:
        self._connection = connection
        self._pages = pages

    def users(self) -> list[Body]:
        """Every user, by name."""
        return list(self._pages("/v1/users", {}, None))

    def create_user(self, name: str) -> Body:
        """A new user, without keys or groups."""
        return self._ask("POST", "/v1/users", {"name": name}, repeatable=False)

    def disable_user(self, name: str, *, disabled: bool = True) -> Body:
        """Makes the user's keys open nothing, or open again."""
        return self._ask("PATCH", f"/v1/users/{name}", {"disabled": disabled})

    def remove_model(self, name: str) -> None:
        """Takes a model off the list; its files and results stay, and it may be added again."""
        self._connection.request("DELETE", f"/v1/models/{name}", repeatable=False)

    def groups(self) -> list[Body]:
        """Every group with its members, by name."""
        return list(self._ask("GET", "/v1/groups")["items"])

    def create_group(self, name: str) -> Body:
        """A new group, with nobody in it."""
        return self._ask("POST", "/v1/groups", {"name": name}, repeatable=False)

    def delete_group(self, name: str) -> None:
        """Ends a group; what was shared with it is its owners' alone."""
        self._connection.request("DELETE", f"/v1/groups/{name}")

    def add_member(self, group: str, user: str) -> Body:
        """Puts a user into a group."""
        return self._ask("PUT", f"/v1/groups/{group}/members/{user}")

    def remove_member(self, group: str, user: str) -> None:
        """Takes a user out of a group."""
        self._connection.request("DELETE", f"/v1/groups/{group}/members/{user}")

    def keys(self, **filters: Any) -> list[Body]:
        """Keys without their text, newest first; filters: owner, live."""
        return list(self._pages("/v1/keys", filters, None))

    def create_key(self, owner: str, role: str = "member", **more: Any) -> Body:
        """A new key, whose text is in `key`, this once; more: scopes, days, label."""
        return self._ask("POST", "/v1/keys", {"owner": owner, "role": role, **more}, repeatable=False)

    def rotate_key(self, key_id: str, **how: Any) -> Body:
        """A new key in the place of one, whose text is in `key`, this once; how: overlap_hours, days."""
        return self._ask("POST", f"/v1/keys/{key_id}/rotate", how, repeatable=False)

    def revoke_key(self, key_id: str) -> Body:
        """Ends a key."""
        return self._ask("POST", f"/v1/keys/{key_id}/revoke")

    def audit(self, *, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        """Who did what, newest first; filters: actor, key, action, object, outcome, since, until."""
        return self._pages("/v1/audit", filters, limit)

    def _ask(self, method: str, path: str, body: Body | None = None, *, repeatable: bool = True) -> Body:
        return dict(self._connection.request(method, path, json=body, repeatable=repeatable).json())
