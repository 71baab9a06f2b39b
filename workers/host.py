"""Reports how much memory the machine, or the process's control group, lets this process use. Imports no torch."""

import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def host_bytes(groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> int:
    """The machine's memory in bytes, or the lowest limit of the process's control group (version 2) and those above it, where that is lower.

    systemd's MemoryMax is the limit of the unit's own group; in a container the container's group is the top of `groups`.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for group in _own_groups(groups, membership):
        try:
            limit = (group / "memory.max").read_text(encoding="ascii").strip()
        except OSError:
            continue  # the top of a whole machine has no limit; a container does not see the groups above its own
        if limit.isdigit():
            limits.append(int(limit))
    return min(limits)


def _own_groups(groups: Path, membership: Path) -> list[Path]:
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return [groups]
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return [groups, *(groups.joinpath(*Path(own).parts[:depth]) for depth in range(1, len(Path(own).parts) + 1))]
