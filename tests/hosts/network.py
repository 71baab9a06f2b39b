"""Hosts made of network namespaces, each with its own address and link, all on one switch, without a connection to this machine.

A host's processes see their own host name and network, and no other host's folder. Needs root and iproute2; `why_not()` says what is missing.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

CLONE_NEWNET = 0x40000000
SUBNET = "10.231.7"
_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Why this machine cannot run several hosts, or None if it can. Tries everything that the tests need."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    for program, package in (("ip", "iproute2"), ("ss", "iproute2"), ("unshare", "util-linux"), ("mount", "mount")):
        if shutil.which(program) is None:
            return f"no program {program!r} (apt install {package})"
    try:
        with Network() as network:
            one, other = network.host("one"), network.host("other")
            with other.inside(), socket.create_server((other.address, 9)):
                if not one.reaches(other, 9):
                    return "two namespaces on one bridge do not reach each other"
            subprocess.run(one.command(["true"], hidden=[]), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as refused:
        said = getattr(refused, "stderr", None)
        return f"making a namespace was refused: {said.decode().strip() if said else refused}"
    return None


class Host:
    """One host. `name` is its host name, `address` its only address besides loopback."""

    def __init__(self, network: "Network", name: str, number: int) -> None:
        self.name, self.address = name, f"{SUBNET}.{number}"
        self.mac = f"02:00:00:00:00:{number:02x}"
        self._network = network
        self._namespace = f"{network.prefix}-{name}"

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Within the context, new sockets of this thread and the processes it starts belong to the host."""
        return _in_namespace(Path("/run/netns", self._namespace))

    def command(self, argv: Sequence[str], *, hidden: Sequence[Path]) -> list[str]:
        """The command line that runs `argv` under this host name, with the `hidden` folders empty. Run it `inside()`."""
        empty = [f"mount -t tmpfs none '{folder}'" for folder in hidden]
        script = " && ".join([f"hostname {self.name}", *empty, 'exec "$@"'])
        return ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", script, "sh", *argv]

    def reaches(self, other: "Host", port: int, seconds: float = 3) -> bool:
        """Whether a TCP connection from this host to the other one opens within `seconds`."""
        with self.inside():
            try:
                socket.create_connection((other.address, port), timeout=seconds).close()
            except OSError:
                return False
        return True

    def drop(self) -> None:
        """From now on the switch drops all packets from and to the host. The link stays up, so neither side notices."""
        _ip("-n", self._network.switch, "link", "set", self.name, "nomaster")

    def carry(self) -> None:
        """Ends `drop`."""
        _ip("-n", self._network.switch, "link", "set", self.name, "master", "switch")

    def link_down(self) -> None:
        """Takes the link down, as when the cable is pulled and the system notices: the host has no route left."""
        _ip("-n", self._namespace, "link", "set", "eth0", "down")

    def link_up(self) -> None:
        """Ends `link_down`."""
        _ip("-n", self._namespace, "link", "set", "eth0", "up")

    def forget(self, other: "Host", port: int) -> None:
        """Closes the other host's connections to this port, on this side; a host that is cut off does not learn of it."""
        with self.inside():
            subprocess.run(["ss", "--kill", "sport", "=", f":{port}", "dst", other.address], check=True, capture_output=True)

    def make(self) -> None:
        """Makes the namespace and connects it to the switch."""
        switch = self._network.switch
        _ip("netns", "add", self._namespace)
        _ip("link", "add", "eth0", "address", self.mac, "netns", self._namespace,
            "type", "veth", "peer", "name", self.name, "netns", switch)  # fmt: skip
        _ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self._namespace, "link", "set", "lo", "up")
        _ip("-n", self._namespace, "link", "set", "eth0", "up")
        _ip("-n", switch, "link", "set", self.name, "master", "switch", "up")

    def knows(self, other: "Host") -> None:
        """Sets the other host's hardware address permanently, so that address resolution does not notice a drop either."""
        _ip("-n", self._namespace, "neighbour", "replace", other.address, "lladdr", other.mac, "dev", "eth0", "nud", "permanent")

    def remove(self) -> None:
        _ip("netns", "delete", self._namespace)


class Network:
    """A switch and its hosts; a context manager that removes them. Processes inside must have ended before."""

    def __init__(self) -> None:
        self.prefix = f"bnk{os.getpid()}"
        self.switch = f"{self.prefix}-switch"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> "Network":
        for left in Path("/run/netns").glob("bnk*-*"):  # left by tests that were killed
            if not Path("/proc", left.name.split("-")[0].removeprefix("bnk")).exists():
                _ip("netns", "delete", left.name)
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "switch", "type", "bridge", "forward_delay", "0")
        _ip("-n", self.switch, "link", "set", "switch", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.remove()
        _ip("netns", "delete", self.switch)

    def host(self, name: str) -> Host:
        """A new host, connected to all others."""
        made = Host(self, name, len(self.hosts) + 1)
        self.hosts[name] = made
        made.make()
        for other in self.hosts.values():
            if other is not made:
                made.knows(other)
                other.knows(made)
        return made


@contextlib.contextmanager
def _in_namespace(path: Path) -> Iterator[None]:
    with Path("/proc/thread-self/ns/net").open("rb") as home, path.open("rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
