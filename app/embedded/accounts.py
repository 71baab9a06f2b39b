"""The account the database server runs as: the caller's, or for root an unprivileged system account."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.embedded.errors import EmbeddedError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A system account that a child process is switched to before it starts."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account for a program that refuses root; None when we are not root and it can run as ourselves.

    Raises EmbeddedError when we are root and the machine has no unprivileged account.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "no_server_account",
        f"Postgres does not run as root, and none of the accounts {', '.join(CANDIDATES)} exists on this machine. "
        "Start as an ordinary user, or create one: useradd --system postgres",
    )


def can_enter(path: Path, account: Account | None) -> bool:
    """Whether `account` (None: ourselves) gets through to `path` and may enter or execute it; the kernel is asked."""
    if account is None:
        return os.access(path, os.X_OK)
    asked = subprocess.run(["test", "-x", path], user=account.uid, group=account.gid, extra_groups=[], cwd="/", check=False)
    return asked.returncode == 0
