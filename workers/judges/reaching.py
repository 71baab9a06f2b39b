"""Connects to a judge's endpoint only at a checked address, without following redirects, and through a proxy only where one is set.

A host name may resolve differently at every request, so it is resolved before each request and the connection goes to the checked address. Where
the environment names a proxy for the endpoint, the proxy resolves the name and decides.
"""

import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2

from app.addresses import looked_up, refused
from terms.values import Json
from workers.job import JobFault


class Reach:
    """The client of one endpoint. `allowed`: hosts and networks allowed in addition to public addresses; None for a stored judge from before
    this check existed."""

    def __init__(
        self, name: str, url: str, allowed: Sequence[str] | None, *, headers: Mapping[str, str], timeout: float, connections: int
    ) -> None:
        parts = urlsplit(url)
        self._name, self._host, self._allowed = name, parts.hostname or "", allowed
        self._url = httpx2.URL(url)
        self._proxied = _proxy(parts.scheme, self._host)
        self._client = httpx2.Client(
            headers={**headers, "Host": parts.netloc},
            timeout=timeout,
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            trust_env=False,  # the proxy is chosen here, so that the checked address is the one connected to
            verify=httpx2.create_ssl_context(),
            proxy=self._proxied,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    @contextmanager
    def post(self, payload: Mapping[str, Json]) -> Iterator[httpx2.Response]:
        """Yields the response with its body unread. Raises JobFault judge_private_address, httpx2.RequestError, OSError for an unknown
        name."""
        extensions = {"sni_hostname": self._host} if self._proxied is None else None
        request = self._client.build_request("POST", self._url, json=payload, extensions=extensions)
        response = self._sent(request)
        try:
            yield response
        finally:
            response.close()

    def _sent(self, request: httpx2.Request) -> httpx2.Response:
        if self._proxied is not None:
            return self._client.send(request, stream=True)
        *others, last = self._addresses()
        for address in others:
            request.url = self._url.copy_with(host=address)
            try:
                return self._client.send(request, stream=True)
            except httpx2.ConnectError:
                continue  # nothing was sent; a host with several addresses may answer at the next
        request.url = self._url.copy_with(host=last)
        return self._client.send(request, stream=True)

    def _addresses(self) -> list[str]:
        found = looked_up(self._host)
        wrong = None if self._allowed is None else refused(self._host, found, self._allowed)
        if wrong is not None:
            raise JobFault(
                "judge_private_address",
                f"The judge {self._name} is at {self._host}, which leads to {wrong}, not a public address. If it is in your own network, an "
                f'administrator deletes the judge and adds it again with "options": {{"private_hosts": ["{self._host}"]}}; what was '
                "generated is kept and can be rescored.",
            )
        return found


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, NO_PROXY and similar variables) names for the host."""
    proxies = urllib.request.getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    return found if found and not urllib.request.proxy_bypass(host) else None
