"""Who asks. Everything below the routes knows a caller as this and nothing more."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "member", "admin"]


@dataclass(frozen=True)
class Viewer:
    """An authenticated caller. Viewers read, members also submit, admins see and manage everything."""

    owner: str
    role: Role
    key_id: str = ""
