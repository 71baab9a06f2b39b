"""Which addresses count as public, against the registries of special-purpose addresses, and which others an administrator may allow."""

import ipaddress

import pytest

from app import addresses

SPECIAL = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "168.63.129.16/32",
    "::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48", "2001:20::/28", "2001:db8::/32", "2002::/16",
    "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/3",
)  # fmt: skip
"""The registries of RFC 6890 as they are kept, and what they leave out: site-local, unallocated, a cloud's own host."""
PUBLIC = ("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::8", "2400:cb00::1")


def of(network: str) -> list[str]:
    """The first two addresses of the network, the last, and one between."""
    found = ipaddress.ip_network(network)
    return list(dict.fromkeys(str(found[i]) for i in (0, min(1, found.num_addresses - 1), found.num_addresses // 2, -1)))


@pytest.mark.parametrize("network", SPECIAL)
def test_no_special_purpose_address_is_public_however_it_is_written(network: str) -> None:
    for address in of(network):
        written = [address]
        if "." in address:
            packed = ipaddress.IPv4Address(address).packed.hex(":", 2)
            written += [f"::ffff:{packed}", f"64:ff9b::{packed}", f"::{packed}", f"2002:{packed}::", f"2002:{packed}::1"]
            written += [f"2001:0:{packed}::1", f"2606:4700::5efe:{packed}", f"2606:4700::200:5efe:{packed}"]
        for one in written:
            assert not addresses.is_public(one), one
            assert addresses.refused("judge.example", [one], []) == one


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public_through_a_translator_too(address: str) -> None:
    assert addresses.is_public(address)
    if "." in address:
        packed = ipaddress.IPv4Address(address).packed.hex(":", 2)
        assert addresses.is_public(f"::ffff:{packed}")
        assert addresses.is_public(f"64:ff9b::{packed}")
        assert not addresses.is_public(f"2002:{packed}::")


@pytest.mark.parametrize(
    ("host", "address", "allowed", "passes"),
    [
        ("judge.lab", "10.0.0.7", ["judge.lab"], True),
        ("JUDGE.lab.", "10.0.0.7", ["judge.LAB"], True),
        ("judge.lab", "10.0.0.7", ["10.0.0.0/8"], True),
        ("judge.lab", "10.0.0.7", ["10.0.0.7"], True),
        ("judge.lab", "64:ff9b::a00:7", ["10.0.0.0/8"], True),
        ("judge.lab", "::1", ["judge.lab"], True),
        ("judge.lab", "10.0.0.7", ["other.lab", "192.168.0.0/16"], False),
        ("judge.lab", "10.0.0.7", ["lab"], False),
        ("judge.lab", "169.254.169.254", ["judge.lab"], False),
        ("judge.lab", "169.254.169.254", ["169.254.169.254"], True),
        ("judge.lab", "0.0.0.0", ["judge.lab"], False),
    ],
)
def test_a_private_address_is_allowed_by_its_name_or_its_network(
    host: str, address: str, allowed: list[str], passes: bool
) -> None:
    """The name of a host allows private networks; link-local services of a cloud must be allowed by their address."""
    assert (addresses.refused(host, ["8.8.8.8", address], allowed) is None) == passes
