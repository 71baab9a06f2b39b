"""A judge sends requests only to the address that was checked, follows no redirect, and reaches private addresses only if they are allowed."""

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
    """The reply to one request of a judge with this URL and these options."""
    with closing(judge(url, **options)) as found:
        return found.ask(MESSAGES)


def judge(url: str, **options: Any) -> Endpoint:
    """The client of a judge with this URL and these options."""
    about = {"name": "house", "kind": "openai", "model": "judge-7b", "url": url, "key_env": None, "options": options}
    return Endpoint(about, backoff=0.01)


def leads_to(monkeypatch: pytest.MonkeyPatch, host: str, *answers: str) -> list[str]:
    """Makes each look-up of the host return the next of these addresses, then always the last; returns the look-ups so far."""
    looked: list[str] = []
    real = socket.getaddrinfo

    def look_up(name: Any, port: Any, *more: Any, **others: Any) -> Any:
        if name != host:
            return real(name, port, *more, **others)
        looked.append(name)
        address = answers[min(len(looked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked


def test_a_private_address_is_refused_unless_it_is_allowed() -> None:
    with serving(obedient) as server:
        with pytest.raises(JobFault) as refused:
            asked(server.url, private_hosts=[])
        assert (refused.value.code, server.requests) == ("judge_private_address", [])
        assert '"private_hosts": ["127.0.0.1"]' in refused.value.detail
        assert asked(server.url, private_hosts=["127.0.0.0/8"])
        assert asked(server.url, private_hosts=["127.0.0.1"])


def test_an_international_name_is_looked_up_in_its_ascii_form(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = leads_to(monkeypatch, "xn--hllo-bpa.example", "127.0.0.1")
    with serving(obedient) as server:
        assert asked(server.url.replace("127.0.0.1", "héllo.example"), private_hosts=["xn--hllo-bpa.example"])
    assert looked


def test_a_judge_without_private_hosts_reaches_a_private_address() -> None:
    """A judge that was made before addresses were checked has no such option, and keeps working."""
    with serving(obedient) as server:
        assert asked(server.url)


def test_a_name_that_changes_its_address_between_two_requests_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the first address is allowed, the second is the metadata service of a cloud."""
    with serving(obedient) as server:
        port = server.url.rsplit(":", 1)[1].removesuffix("/v1")
        looked = leads_to(monkeypatch, "judge.lab", "127.0.0.1", "169.254.169.254")
        with closing(judge(f"http://judge.lab:{port}/v1", private_hosts=["judge.lab"])) as found:
            assert found.ask(MESSAGES)
            assert server.requests[0].headers["Host"] == f"judge.lab:{port}"
            with pytest.raises(JobFault, match=r"169\.254\.169\.254"):
                found.ask(MESSAGES)
        assert (len(server.requests), len(looked)) == (1, 2)


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look-up per request: a second one, by the HTTP library, could return another address."""
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
    """Makes the host have all of these addresses at once."""
    real = socket.getaddrinfo

    def look_up(name: Any, port: Any, *more: Any, **others: Any) -> Any:
        if name != host:
            return real(name, port, *more, **others)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a firewall that drops packets: the connection is not refused but times out."""
    with serving(obedient) as server, ExitStack() as opened:
        port = int(server.url.rsplit(":", 1)[1].removesuffix("/v1"))
        silent = opened.enter_context(closing(socket.create_server(("127.0.0.2", port), backlog=0)))
        for _ in range(4):  # they fill its queue, so the kernel drops further packets
            waiting = opened.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        both_lead_to(monkeypatch, "judge.lab", "127.0.0.2", "127.0.0.1")
        monkeypatch.setattr(reaching, "CONNECTING", 0.3)
        assert asked(f"http://judge.lab:{port}/v1", private_hosts=["judge.lab"], timeout_seconds=3)
        assert len(server.requests) == 1


def test_http_proxy_may_lack_a_scheme_and_no_proxy_may_name_a_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "http_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "NO_PROXY",
        "REQUEST_METHOD",
    ):  # with the last, urllib ignores HTTP_PROXY
        monkeypatch.delenv(name, raising=False)
    with serving(obedient) as proxy, serving(obedient) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://").removesuffix("/v1"))
        assert asked("http://judge.lab:8000/v1", private_hosts=[])
        assert proxy.requests[0].headers["Host"] == "judge.lab:8000"
        monkeypatch.setenv("NO_PROXY", server.url.removeprefix("http://").removesuffix("/v1"))
        assert asked(server.url, private_hosts=["127.0.0.1"])
        assert (len(proxy.requests), len(server.requests)) == (1, 1)


@pytest.mark.parametrize("proxy", ["socks5://ada:secret@10.0.0.1:9", "ftp://ada:secret@10.0.0.1", "http://ada:secret@[::1"])
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(JobFault) as refused:
        judge("https://judge.lab/v1")
    assert refused.value.code == "judge_bad_proxy"
    assert "HTTPS_PROXY" in refused.value.detail
    assert "secret" not in refused.value.detail
