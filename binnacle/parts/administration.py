"""Client methods for administrators: users, groups, keys, and the audit log."""

from collections.abc import Iterator
from typing import Any

from binnacle.connection import Connection
from binnacle.parts.calls import Body, Calls
from binnacle.served import quoted


class Administration(Calls):
    """`client.admin`. Needs an administrator's key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def users(self) -> list[Body]:
        """Returns every user, by name.

        >>> user = client.admin.create_user("hopper")
        >>> "hopper" in [user["name"] for user in client.admin.users()]
        True
        """
        return list(self._pages(Body, "/v1/users", {}, None))

    def create_user(self, name: str) -> Body:
        """Creates a user without keys or groups.

        >>> client.admin.create_user("lovelace")["name"]
        'lovelace'
        """
        return self._send(Body, "POST", "/v1/users", {"name": name}, repeatable=False)

    def disable_user(self, name: str, *, disabled: bool = True) -> Body:
        """Disables the keys of a user, or enables them again with `disabled=False`.

        >>> user = client.admin.create_user("babbage")
        >>> client.admin.disable_user("babbage")["disabled_at"] is None
        False
        """
        return self._send(Body, "PATCH", f"/v1/users/{quoted(name)}", {"disabled": disabled})

    def remove_model(self, name: str) -> None:
        """Removes a model from the list; its files and results stay, and it may be added again.

        >>> job = client.add_model("copy", client.model("demo-severe")["source"])
        >>> client.await_model("copy")["state"]
        'ready'
        >>> client.admin.remove_model("copy")
        """
        self._connection.request("DELETE", f"/v1/models/{quoted(name)}", repeatable=False)

    def groups(self) -> list[Body]:
        """Returns every group with its members, by name.

        >>> isinstance(client.admin.groups(), list)
        True
        """
        return list(self._get(Body, "/v1/groups")["items"])

    def create_group(self, name: str) -> Body:
        """Creates a group without members.

        >>> client.admin.create_group("interp")["members"]
        []
        """
        return self._send(Body, "POST", "/v1/groups", {"name": name}, repeatable=False)

    def delete_group(self, name: str) -> None:
        """Deletes a group; objects that were shared with it become private.

        >>> group = client.admin.create_group("short")
        >>> client.admin.delete_group("short")
        """
        self._connection.request("DELETE", f"/v1/groups/{quoted(name)}")

    def add_member(self, group: str, user: str) -> Body:
        """Adds a user to a group.

        >>> group, user = client.admin.create_group("probes"), client.admin.create_user("noether")
        >>> client.admin.add_member("probes", "noether")["members"]
        ['noether']
        """
        return self._send(Body, "PUT", f"/v1/groups/{quoted(group)}/members/{quoted(user)}")

    def remove_member(self, group: str, user: str) -> None:
        """Removes a user from a group.

        >>> group, user = client.admin.create_group("left"), client.admin.create_user("curie")
        >>> group = client.admin.add_member("left", "curie")
        >>> client.admin.remove_member("left", "curie")
        """
        self._connection.request("DELETE", f"/v1/groups/{quoted(group)}/members/{quoted(user)}")

    def keys(self, **filters: Any) -> list[Body]:
        """Returns keys without their text, newest first; filters: owner, live.

        >>> "key" in client.admin.keys(live=True)[0]
        False
        """
        return list(self._pages(Body, "/v1/keys", filters, None))

    def create_key(self, owner: str, role: str = "member", **more: Any) -> Body:
        """Creates a key; its text is in `key` and is shown only now; more: scopes, days, label.

        >>> user = client.admin.create_user("turing")
        >>> client.admin.create_key("turing", days=30)["key"].startswith("bnk_")
        True
        """
        return self._send(Body, "POST", "/v1/keys", {"owner": owner, "role": role, **more}, repeatable=False)

    def rotate_key(self, key_id: str, **how: Any) -> Body:
        """Replaces a key by a new one; its text is in `key` and is shown only now; how: overlap_hours, days.

        >>> user = client.admin.create_user("hamilton")
        >>> key = client.admin.create_key("hamilton")
        >>> client.admin.rotate_key(key["id"], overlap_hours=2)["owner"]
        'hamilton'
        """
        return self._send(Body, "POST", f"/v1/keys/{quoted(key_id)}/rotate", how, repeatable=False)

    def revoke_key(self, key_id: str) -> Body:
        """Revokes a key.

        >>> user = client.admin.create_user("johnson")
        >>> key = client.admin.create_key("johnson")
        >>> client.admin.revoke_key(key["id"])["live"]
        False
        """
        return self._send(Body, "POST", f"/v1/keys/{quoted(key_id)}/revoke")

    def audit(self, *, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        """Yields who did what, newest first; filters: actor, key, action, object, outcome, since, until.

        >>> user = client.admin.create_user("franklin")
        >>> [entry["object"] for entry in client.admin.audit(action="user.create", limit=1)]
        ['franklin']
        """
        return self._pages(Body, "/v1/audit", filters, limit)
