"""A host's memory is the machine's, or the lowest limit of the control groups that the process is in."""

from pathlib import Path

import psutil

from workers.host import host_bytes


def test_a_host_has_the_machines_memory_or_the_lowest_limit_of_its_control_groups(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().total
    groups, membership = tmp_path / "groups", tmp_path / "membership"
    unit = groups / "system.slice" / "binnacle.service"
    unit.mkdir(parents=True)
    assert host_bytes(groups, membership) == machine
    membership.write_text("4:memory:/other\n0::/system.slice/binnacle.service\n")
    for written, above, expected in (
        ("max\n", "max\n", machine),
        ("1000\n", "max\n", 1000),  # systemd's MemoryMax
        ("1000\n", "900\n", 900),
        (f"{machine * 2}\n", "max\n", machine),
    ):
        (unit / "memory.max").write_text(written)
        (unit.parent / "memory.max").write_text(above)
        assert host_bytes(groups, membership) == expected


def test_a_container_has_the_limit_at_the_top_of_what_it_sees(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    for own in ("0::/\n", "0::/system.slice/docker-1.scope\n", "0::/../..\n"):
        (tmp_path / "membership").write_text(own)
        assert host_bytes(tmp_path, tmp_path / "membership") == 5000
