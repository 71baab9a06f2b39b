"""Finds the account that runs the database server: the caller's, or an unprivileged system account if the caller is root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.embedded.errors import EmbeddedError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A system account to which a child process switches before it starts."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Returns the account for a program that refuses to run as root; None when the caller is not root.

    Raises EmbeddedError when the caller is root and the machine has no unprivileged account.
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
    """Returns whether `account` (None: the caller) may reach `path` and enter or execute it; asks the kernel.

    Raises EmbeddedError where root may not become the account, as in a namespace with a single user.
    """
    if account is None:
        return os.access(path, os.X_OK)
    try:
        asked = subprocess.run(["test", "-x", path], user=account.uid, group=account.gid, extra_groups=[], cwd="/", check=False)
    except OSError as error:
        raise EmbeddedError(
            "no_server_account",
            f"Postgres does not run as root, and root cannot become the account {account.name} here: {error.strerror}. Start as an "
            "ordinary user, or allow it: map more users into the namespace, or give the container the capabilities SETUID and SETGID.",
        ) from error
    return asked.returncode == 0
