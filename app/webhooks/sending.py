"""Makes one attempt at one delivery: connects to the address that was checked, follows no redirect and reads only the status.

A host name may lead only to a public address unless the administrator allowed private ones, because its owner can point it into this
network later. The name is resolved once, and the connection goes to the address that was checked.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from app.addresses import host_of, look_up, refused
from app.webhooks.messages import DELIVERY, SIGNATURE, render, secret_of, sign
from app.webhooks.repository import Due
from binnacle.version import VERSION

HEALS = frozenset({408, 425, 429})
"""Refusals that may not recur at the next attempt; after any other the target must be changed."""


@dataclass(frozen=True)
class Sent:
    """The outcome of an attempt. `hopeless`: another attempt would fail in the same way."""

    status: int | None = None
    error: str | None = None
    hopeless: bool = False

    @property
    def delivered(self) -> bool:
        """Returns whether the target accepted the message."""
        return self.error is None


class Refused(Exception):
    """The target leads to an address that it may not lead to."""


class Sender:
    """Sends deliveries; keeps no connection between them."""

    def __init__(self, pepper: str, public_url: str, timeout: float) -> None:
        self._pepper = pepper
        self._public_url = public_url
        self._timeout = timeout
        self._tls = ssl.create_default_context()

    async def send(self, due: Due) -> Sent:
        """Posts the message and returns the outcome; a failure is an outcome, too, and raises nothing."""
        try:
            async with asyncio.timeout(self._timeout):
                return _judged(await self._post(due))
        except TimeoutError:
            return Sent(error=f"No answer within {self._timeout:g} s.")
        except Refused as refused:
            return Sent(error=str(refused), hopeless=True)
        except (httpx2.HTTPError, OSError) as error:
            return Sent(error=f"{type(error).__name__}: {error}"[:300])
        except ValueError as error:  # an address that cannot be read
            return Sent(error=f"{type(error).__name__}: {error}"[:300], hopeless=True)

    async def _post(self, due: Due) -> int:
        host = host_of(due.url)
        url = httpx2.URL(due.url)
        address = await _address(host, private=due.private)
        body = render(due.body, due.id, self._public_url)
        now = int(time.time())
        headers = {
            "Host": url.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": f"Binnacle/{VERSION}",
            DELIVERY: due.id,
            SIGNATURE: sign(secret_of(self._pepper, due.salt), now, body),
        }
        url = url.copy_with(host=address)
        async with (
            httpx2.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False, timeout=self._timeout) as client,
            client.stream("POST", url, content=body, headers=headers, extensions={"sni_hostname": host}) as response,
        ):
            return response.status_code


async def _address(host: str, *, private: bool) -> str:
    """Returns the address to connect to. Raises Refused for a name that leads to a private address that was not allowed."""
    addresses = await look_up(host)
    as_named = host == "localhost" or host.strip("[]") in addresses
    wrong = None if as_named else refused(host, addresses, [host] if private else [])
    if wrong is not None:
        raise Refused(
            f"{host} leads to {wrong}, which is not a public address. If it should be, delete the webhook and add it again with private=true."
        )
    return addresses[0]


def _judged(status: int) -> Sent:
    if 200 <= status < 300:
        return Sent(status)
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "not an HTTP status"
    if 300 <= status < 400:
        return Sent(status, f"{status} {phrase}: redirects are not followed; use the address it leads to.", hopeless=True)
    return Sent(status, f"{status} {phrase}", hopeless=400 <= status < 500 and status not in HEALS)
