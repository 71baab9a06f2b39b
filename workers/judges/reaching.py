"""Connects to a judge's endpoint only at a checked address, without following redirects, and through a proxy only where one is set.

A host name may resolve differently at every request, so it is resolved before each request and the connection goes to the checked address. Where
the environment names a proxy for the endpoint, the proxy resolves the name and decides.
"""

import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx2

from app.addresses import host_of, looked_up, refused
from terms.values import Json
from workers.job import JobFault

CONNECTING = 5.0
"""The most seconds of waiting for a connection to an address where the host has another."""


class Reach:
    """The client of one endpoint. `allowed`: hosts and networks allowed in addition to public addresses; None for a stored judge from before
    this check existed. Raises JobFault judge_bad_proxy."""

    def __init__(
        self, name: str, url: str, allowed: Sequence[str] | None, *, headers: Mapping[str, str], timeout: float, connections: int
    ) -> None:
        self._url = httpx2.URL(url)
        self._name, self._host, self._allowed = name, host_of(url), allowed
        self._timeout = timeout
        self._proxied = _proxy(self._url)
        trust = httpx2.create_ssl_context()
        try:
            self._client = httpx2.Client(
                headers={**headers, "Host": self._url.netloc.decode()},
                timeout=timeout,
                limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
                follow_redirects=False,
                trust_env=False,  # the proxy is chosen here, so that the checked address is the one connected to
                verify=trust,
                proxy=self._proxied,
            )
        except (ImportError, ValueError, httpx2.InvalidURL):
            if self._proxied is None:
                raise
            # the proxy is of another kind, or not an address; it may hold a password
            raise JobFault(
                "judge_bad_proxy",
                f"The judge {name} cannot be reached: the worker's {self._url.scheme.upper()}_PROXY or ALL_PROXY does not name a proxy that "
                "it can use. An operator sets it to an address with http:// or https://, or unsets it, and restarts the worker; then retry the "
                "job.",
            ) from None

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
            try:
                return self._sent_to(address, request, min(CONNECTING, self._timeout))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent; a host with several addresses may answer at the next
        return self._sent_to(last, request, self._timeout)

    def _sent_to(self, address: str, request: httpx2.Request, connecting: float) -> httpx2.Response:
        request.url = self._url.copy_with(host=address)
        request.extensions = {**request.extensions, "timeout": httpx2.Timeout(self._timeout, connect=connecting).as_dict()}
        return self._client.send(request, stream=True)

    def _addresses(self) -> list[str]:
        addresses = looked_up(self._host)
        wrong = None if self._allowed is None else refused(self._host, addresses, self._allowed)
        if wrong is not None:
            raise JobFault(
                "judge_private_address",
                f"The judge {self._name} is at {self._host}, which leads to {wrong}, not a public address. If it is in your own network, an "
                f'administrator deletes the judge and adds it again with "options": {{"private_hosts": ["{self._host}"]}}; what was '
                "generated is kept and can be rescored.",
            )
        return addresses


def _proxy(url: httpx2.URL) -> str | None:
    """The proxy that the environment (HTTPS_PROXY, NO_PROXY and similar variables) names for the address; NO_PROXY may name a port as well."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = url.port or (443 if url.scheme == "https" else 80)
    if not proxy or any(map(urllib.request.proxy_bypass, (url.host, f"{host}:{port}"))):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
