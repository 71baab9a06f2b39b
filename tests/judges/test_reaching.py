"""Where a judge's requests go: to an address that was looked at, never through a redirect, and on a private network only by name."""

import socket
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.judges.endpoint import Fault, serving
from tests.judges.judging import obedient
from workers.job import JobFault
from workers.judges import reaching
from workers.judges.endpoint import Endpoint

MESSAGES = [{"role": "user", "content": "worth 40"}]


def asked(url: str, **options: Any) -> Any:
    """The reply of a judge with these options to one request."""
    with closing(judge(url, **options)) as found:
        return found.ask(MESSAGES)


def judge(url: str, **options: Any) -> Endpoint:
    about = {"name": "house", "kind": "openai", "model": "judge-7b", "url": url, "key_env": None, "options": options}
    return Endpoint(about, backoff=0.01)


def leads_to(monkeypatch: pytest.MonkeyPatch, host: str, *answers: str) -> list[str]:
    """The host's name leads to one answer after the other, the last from then on: a name server in somebody else's hands."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(name: Any, port: Any, *more: Any, **others: Any) -> Any:
        if name != host:
            return real(name, port, *more, **others)
        asked.append(name)
        address = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_private_address_is_not_asked_unless_it_was_allowed() -> None:
    with serving(obedient) as server:
        with pytest.raises(JobFault) as refused:
            asked(server.url, private_hosts=[])
        assert (refused.value.code, server.requests) == ("judge_private_address", [])
        assert '"private_hosts": ["127.0.0.1"]' in refused.value.detail
        assert asked(server.url, private_hosts=["127.0.0.0/8"])
        assert asked(server.url, private_hosts=["127.0.0.1"])


def test_an_international_name_is_asked_in_its_ascii_form(monkeypatch: pytest.MonkeyPatch) -> None:
    found = leads_to(monkeypatch, "xn--hllo-bpa.example", "127.0.0.1")
    with serving(obedient) as server:
        assert asked(server.url.replace("127.0.0.1", "héllo.example"), private_hosts=["xn--hllo-bpa.example"])
    assert found


def test_a_judge_from_before_addresses_were_checked_goes_on() -> None:
    with serving(obedient) as server:
        assert asked(server.url)


def test_a_name_that_is_pointed_elsewhere_between_two_requests_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebinding: the first answer was allowed, the second is the cloud's metadata service."""
    with serving(obedient) as server:
        port = server.url.rsplit(":", 1)[1].removesuffix("/v1")
        looked = leads_to(monkeypatch, "judge.lab", "127.0.0.1", "169.254.169.254")
        with closing(judge(f"http://judge.lab:{port}/v1", private_hosts=["judge.lab"])) as found:
            assert found.ask(MESSAGES)
            assert server.requests[0].headers["Host"] == f"judge.lab:{port}"
            with pytest.raises(JobFault, match=r"169\.254\.169\.254"):
                found.ask(MESSAGES)
        assert (len(server.requests), len(looked)) == (1, 2)


def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look-up for a request: a second one, by the library, could be answered otherwise."""
    with serving(obedient) as server:
        port = server.url.rsplit(":", 1)[1].removesuffix("/v1")
        looked = leads_to(monkeypatch, "judge.lab", "127.0.0.1")
        assert asked(f"http://judge.lab:{port}/v1", private_hosts=["judge.lab"])
        assert looked == ["judge.lab"]


def test_a_redirect_is_not_followed() -> None:
    with serving(obedient) as inner:
        outside = Fault(307, b"", {"Location": f"{inner.url}/chat/completions"})
        with serving(lambda _request, _before: outside) as outer, pytest.raises(JobFault, match="it redirects"):
            asked(outer.url, private_hosts=["127.0.0.1"])
        assert inner.requests == []


def both_lead_to(monkeypatch: pytest.MonkeyPatch, host: str, *addresses: str) -> None:
    """The host's name leads to all of these addresses at once."""
    real = socket.getaddrinfo

    def look_up(name: Any, port: Any, *more: Any, **others: Any) -> Any:
        if name != host:
            return real(name, port, *more, **others)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_where_one_address_does_not_answer_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that drops packets is no refusal: the connection times out."""
    with serving(obedient) as server, ExitStack() as opened:
        port = int(server.url.rsplit(":", 1)[1].removesuffix("/v1"))
        silent = opened.enter_context(closing(socket.create_server(("127.0.0.2", port), backlog=0)))
        for _ in range(4):  # its queue is full, so the kernel drops what comes
            waiting = opened.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        both_lead_to(monkeypatch, "judge.lab", "127.0.0.2", "127.0.0.1")
        monkeypatch.setattr(reaching, "CONNECTING", 0.3)
        assert asked(f"http://judge.lab:{port}/v1", private_hosts=["judge.lab"], timeout_seconds=3)
        assert len(server.requests) == 1


def test_the_proxy_of_the_environment_may_lack_a_scheme_and_its_exceptions_may_name_a_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "no_proxy", "HTTP_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    with serving(obedient) as proxy, serving(obedient) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://").removesuffix("/v1"))
        assert asked("http://judge.lab:8000/v1", private_hosts=[])
        assert proxy.requests[0].headers["Host"] == "judge.lab:8000"
        monkeypatch.setenv("NO_PROXY", server.url.removeprefix("http://").removesuffix("/v1"))
        assert asked(server.url, private_hosts=["127.0.0.1"])
        assert (len(proxy.requests), len(server.requests)) == (1, 1)
