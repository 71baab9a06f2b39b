"""The caller of a request: user, role, scopes and groups. Functions that need to know who calls take a `Viewer`."""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["viewer", "member", "admin"]
Scope = Literal["read", "submit", "admin"]

SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
ALLOWED: dict[Role, frozenset[Scope]] = {
    "viewer": frozenset({"read"}),
    "member": frozenset({"read", "submit"}),
    "admin": SCOPES,
}
"""What each role may do. `read`: see visible objects. `submit`: create, change and cancel own objects. `admin`: see and manage everything."""


@dataclass(frozen=True)
class Viewer:
    """An authenticated caller: `owner` is the user's name, `key_id` is empty for a caller without a key.

    `scopes` belong to the key; an action is allowed if both the scopes and the role allow it.
    """

    owner: str
    role: Role
    key_id: str = ""
    scopes: frozenset[Scope] = SCOPES
    groups: frozenset[str] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Returns whether both the key's scopes and its role allow this."""
        return scope in self.scopes and scope in ALLOWED[self.role]

    @property
    def is_admin(self) -> bool:
        """Returns whether the caller sees and manages everything: an administrator with a key that has the scope `admin`."""
        return self.may("admin")

    def manages(self, owner: str) -> bool:
        """Returns whether objects of `owner` are in the caller's hands; to change them it also needs `may("submit")`."""
        return self.is_admin or self.owner == owner
