"""Authentication on a server without keys (`BINNACLE_AUTH=off`): a secret for each start, or a private socket.

Such a server listens on a unix socket that only its account can open, or on a loopback address where every request carries the
secret of this start. Everyone with access to either is an administrator. Both end with the server. It makes no keys, because those
would stay valid longer.
"""

import hmac
import ipaddress
import secrets
import socket

from fastapi import Request
from pydantic import SecretStr

from app.errors import Problem
from app.settings import Settings

SHORTEST = 32
"""Least characters of a secret that the operator chose."""


def new_secret() -> str:
    """Returns a secret of 256 random bits, with a recognizable prefix."""
    return f"bnl_{secrets.token_urlsafe(32)}"


def secured(settings: Settings, host: str | None) -> Settings:
    """Returns the settings of a server on `host` (None: a unix socket), with a new secret if one is needed and missing.

    Raises ValueError for a server without keys that other machines could reach, or with a secret that can be guessed.
    """
    if settings.auth == "on" or host is None:
        return settings
    if not is_loopback(host):
        raise ValueError(f"BINNACLE_AUTH=off needs a loopback address, and {host} is not one: bind 127.0.0.1 or switch keys on")
    given = settings.local_secret.get_secret_value()
    if given and len(given) < SHORTEST:
        raise ValueError(
            f"BINNACLE_LOCAL_SECRET has {len(given)} characters and needs at least {SHORTEST}: "
            "make it with `openssl rand -hex 32`, or leave it out"
        )
    return settings if given else settings.model_copy(update={"local_secret": SecretStr(new_secret())})


def is_loopback(host: str) -> bool:
    """Returns whether all addresses of `host` are loopback addresses of this machine; not if its name has no address."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except socket.gaierror:
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def admits(request: Request, shown: str, secret: str) -> bool:
    """Returns whether a request to a server without keys came over its unix socket, or has the secret of this start."""
    if secret:
        return hmac.compare_digest(shown.encode(), secret.encode())
    return over_unix_socket(request)


def over_unix_socket(request: Request) -> bool:
    """Returns whether the request came over a unix socket; otherwise the server's address has a port."""
    server = request.scope.get("server")
    return server is not None and server[1] is None


def secret_missing() -> Problem:
    """Returns the 401 of a server without keys, for a request without the secret of this start."""
    detail = (
        "This server runs without keys (BINNACLE_AUTH=off). Send the secret that it printed when it started: "
        "`Authorization: Bearer bnl_...`. On the same account the command line finds this secret automatically."
    )
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def no_keys() -> Problem:
    """Returns the 409 for a request to create a key on a server without keys."""
    detail = (
        "This server runs without keys (BINNACLE_AUTH=off) and makes none: such a key would stay valid after keys are switched on. "
        "Restart it with BINNACLE_AUTH=on, then make keys."
    )
    return Problem(409, "auth_off", detail)
