"""Checks addresses that the service sends requests to: public addresses, and private ones that an administrator allowed.

A name may resolve to another address after it was allowed. So the rule applies to addresses, and callers connect to exactly the address that
was checked.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOST_OR_NETWORK = r"^[A-Za-z0-9_.:-]{1,253}(/[0-9]{1,3})?$"
"""A host name, an address, or a network such as 10.0.0.0/8."""
_V4_SPECIAL = tuple(
    ipaddress.ip_network(cidr)
    for cidr in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # a cloud provider's internal services, at an address that looks public
    )
)  # fmt: skip
_V6_PUBLIC = ipaddress.ip_network("2000::/3")
_V6_SPECIAL = tuple(ipaddress.ip_network(cidr) for cidr in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
"""Special networks within 2000::/3: protocols (including Teredo), documentation and 6to4. Everything outside 2000::/3 is special."""
_OWN = tuple(
    ipaddress.ip_network(cidr)
    for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128")
)
"""Private networks. A name that an administrator allows may resolve to these, but not to a cloud's link-local services."""
_TRANSLATED = tuple(ipaddress.ip_network(cidr) for cidr in ("::ffff:0:0/96", "64:ff9b::/96"))
"""IPv6 networks that are delivered as IPv4: such an address is checked by the IPv4 address that it contains."""
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def host_of(url: str) -> str:
    """Returns the host of an address as requests name it, in ASCII (IDNA) and without brackets; raises ValueError where the address cannot be
    read, or its host cannot be looked up (an empty label, or one of more than 63 letters).
    """
    try:
        host = httpx2.URL(url).raw_host.decode("ascii")
    except httpx2.InvalidURL as error:
        raise ValueError(str(error)) from error
    host.encode("idna")  # as resolvers do; UnicodeError is a ValueError
    return host


async def look_up(host: str) -> list[str]:
    """Returns the addresses that a host name resolves to, or a given address itself. Raises OSError, ValueError (including UnicodeError)."""
    return _listed(await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM))


def looked_up(host: str) -> list[str]:
    """Returns the addresses that a host name resolves to; the blocking form of `look_up`, for threads."""
    return _listed(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))


def _listed(infos: Iterable[tuple[Any, ...]]) -> list[str]:
    return list(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos))


def is_public(address: str) -> bool:
    """Returns whether an address is public, by the registries of special-purpose addresses (RFC 6890 and its successors)."""
    delivered = _delivered(_parsed(address))
    if isinstance(delivered, ipaddress.IPv4Address):
        return not any(delivered in network for network in _V4_SPECIAL)
    if delivered.packed[8:12] in _ISATAP and not is_public(str(ipaddress.IPv4Address(delivered.packed[12:]))):
        return False
    return delivered in _V6_PUBLIC and not any(delivered in network for network in _V6_SPECIAL)


def refused(host: str, addresses: Iterable[str], allowed: Sequence[str]) -> str | None:
    """Returns the first of the host's addresses to which requests are forbidden, or None. `allowed`: hosts, addresses and networks besides
    public addresses.
    """
    return next((address for address in addresses if not is_public(address) and not _is_allowed(host, address, allowed)), None)


def _is_allowed(host: str, address: str, allowed: Sequence[str]) -> bool:
    delivered = _delivered(_parsed(address))
    for entry in allowed:
        if _bare(entry) == _bare(host) and any(delivered in network for network in _OWN):
            return True
        if _is_network(entry) and delivered in ipaddress.ip_network(entry, strict=False):
            return True
    return False


def _bare(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _delivered(address: Address) -> Address:
    """Returns the IPv4 address that an IPv6 address is delivered to; any other address unchanged."""
    translated = any(address in network for network in _TRANSLATED)
    return ipaddress.IPv4Address(address.packed[12:]) if translated else address


def _parsed(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True
