"""The caller of a request: user, role, scopes and groups. Code below the routes knows the caller only as this."""

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
"""What a role may do. `read`: look at what one may see. `submit`: make, change and cancel one's own. `admin`: see and manage everything."""


@dataclass(frozen=True)
class Viewer:
    """An authenticated caller. `scopes` are the key's; what it may do is what they and its role both allow."""

    owner: str
    role: Role
    key_id: str = ""
    scopes: frozenset[Scope] = SCOPES
    groups: frozenset[str] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Whether the key's scopes and its role both allow it."""
        return scope in self.scopes and scope in ALLOWED[self.role]

    @property
    def is_admin(self) -> bool:
        """Whether the caller sees and manages everything: an administrator whose key was not narrowed to less."""
        return self.may("admin")

    def manages(self, owner: str) -> bool:
        """Whether the caller may change what `owner` made."""
        return self.is_admin or self.owner == owner
