"""Signing in: what the cookie is, what it opens, when it ends, and that no other site can use it."""

import re
import subprocess
import sys
from collections.abc import Callable

import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import text

from app.auth import keyring
from app.auth.models import ApiKey
from app.main import create_app
from app.pages import sessions
from app.pages.doors import PageRoute
from tests.api.conftest import Running
from tests.pages.conftest import Person, form

Make = Callable[..., Person]
OPEN = {"/sign-in", "/docs", "/assets/{digest}/{name}"}
"""Pages that need no session."""


def test_every_page_but_the_sign_in_needs_a_session(api: Running) -> None:
    """No page can be added without this: the routes are those that the application serves."""
    pages = [one for one in iter_route_contexts(create_app(api.settings).routes) if isinstance(one.original_route, PageRoute)]
    assert len(pages) > 10
    with httpx2.Client(base_url=api.url, timeout=120) as nobody:
        for one in pages:
            path = re.sub(r"\{\w+\}", "job_" + "0" * 26, str(one.path))
            for method in one.methods or set():
                answer = nobody.request(method, path, files=form(csrf="") if method == "POST" else None)
                if one.path in OPEN:
                    assert answer.status_code in (200, 401, 404), path
                else:
                    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/sign-in"), (method, path)


def test_a_key_becomes_a_cookie_that_scripts_and_other_sites_cannot_read(person: Make) -> None:
    ada = person(signed_in=False)
    answer = ada.http.post("/sign-in", files=form(key=ada.key, next="/?show=failed"), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?show=failed")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert ada.key not in cookie
    assert ada.name in ada.get("/").text
    behind = ada.http.post("/sign-in", files=form(key=ada.key), headers={"X-Forwarded-Proto": "https"}, follow_redirects=False)
    assert "Secure" in behind.headers["set-cookie"]


@pytest.mark.parametrize("onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"])
def test_signing_in_leads_to_this_server_alone(person: Make, onward: str) -> None:
    ada = person(signed_in=False)
    answer = ada.http.post("/sign-in", files=form(key=ada.key, next=onward), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_wrong_key_says_what_to_do_and_is_not_repeated(person: Make) -> None:
    nobody = person(signed_in=False)
    answer = nobody.http.post("/sign-in", files=form(key="bnk_wrong<b>", next="/"))
    assert answer.status_code == 401
    assert "This key is not valid" in answer.text
    assert "bnk_wrong" not in answer.text
    assert "set-cookie" not in answer.headers


def test_the_cookie_does_not_open_the_api(person: Make) -> None:
    """A session must not widen the API: /v1 takes keys alone, whatever the browser sends by itself."""
    ada = person()
    job = ada.submit()
    for path in ("/v1/jobs", f"/v1/jobs/{job}", "/v1/me"):
        assert ada.http.get(path).status_code == 401, path
    assert ada.http.post(f"/v1/jobs/{job}/cancel").status_code == 401


def test_a_session_ends_with_its_key(api: Running, person: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "RECHECK", 0.0)
    ada = person()
    assert ada.get("/").url.path == "/"
    with api.sessions.begin() as session:
        session.get_one(ApiKey, ada.key.split("_")[1]).revoked_at = session.scalar(text("SELECT now()"))
    api.context.keyring._current.clear()
    assert ada.get("/").url.path == "/sign-in"


@pytest.mark.parametrize("wrong", ["x", "a.b.c.d", "{key}.9999999999.00.{sign}", "", "\u00e9.1.2.3"])
def test_a_forged_cookie_opens_nothing(api: Running, person: Make, wrong: str) -> None:
    ada = person()
    [key_id, _, _, sign] = ada.http.cookies["binnacle_session"].split(".")
    cookie = wrong.format(key=key_id, sign=sign).encode()
    answer = httpx2.get(f"{api.url}/", headers=[(b"cookie", b"binnacle_session=" + cookie)], follow_redirects=False, timeout=120)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


def test_a_session_ends_after_its_twelve_hours(api: Running, person: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies of this server's own making: one with a minute left, and one that ended a second ago."""
    [_, key_id, _] = person().key.split("_")

    def status(lifetime: int) -> int:
        monkeypatch.setattr(sessions, "LIFETIME", lifetime)
        cookie = sessions.made(api.context.settings, key_id)
        return httpx2.get(f"{api.url}/", headers={"Cookie": f"binnacle_session={cookie}"}, timeout=120).status_code

    assert (status(60), status(-1)) == (200, 303)


def test_signing_out_ends_the_session_in_this_browser(person: Make) -> None:
    ada = person()
    assert ada.send("/sign-out", shown_at="/").url.path == "/sign-in"
    assert ada.get("/").url.path == "/sign-in"


def test_a_change_needs_the_token_of_this_session(person: Make) -> None:
    ada, bob = person(), person()
    job = ada.submit()
    path = f"/jobs/{job}/cancel"
    theirs = re.findall(r'name="csrf" value="(\w+)"', bob.get("/").text)[0]
    for fields in ({}, {"csrf": ""}, {"csrf": theirs}, {"csrf": "\u00e9"}):
        answer = ada.http.post(path, files=form(**fields, other="x"))
        assert answer.status_code == 403
        assert "did not come from a page of your session" in answer.text
    for header in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "http://["}):
        token = re.findall(r'name="csrf" value="(\w+)"', ada.get(path).text)[0]
        assert ada.http.post(path, files=form(csrf=token), headers=header).status_code == 403
    assert ada.keyed.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    assert ada.send(path).status_code == 200
    assert ada.keyed.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"


def test_a_form_that_is_too_long_is_refused_unread(person: Make) -> None:
    ada = person()
    assert ada.http.post("/sign-in", files=form(key="x" * 70_000)).status_code == 413


def test_a_ticket_signs_in_once(api: Running, person: Make) -> None:
    ada, other = person(signed_in=False), person(signed_in=False)
    made = ada.keyed.post("/v1/tickets")
    assert (made.status_code, made.json()["seconds"], made.headers["cache-control"]) == (201, 60, "no-store")
    ticket = made.json()["path"].removeprefix("/sign-in#ticket=")
    assert ada.name in other.http.post("/sign-in", files=form(ticket=ticket, next="/")).text
    again = ada.http.post("/sign-in", files=form(ticket=ticket, next="/"))
    assert again.status_code == 401
    assert "already used or is older than 60 seconds" in again.text
    with api.sessions.begin() as session:
        assert ticket not in str(session.execute(text("SELECT * FROM sign_in_tickets")).all())


def test_a_ticket_ends_after_its_minute(api: Running, person: Make) -> None:
    ada = person(signed_in=False)
    ticket = ada.keyed.post("/v1/tickets").json()["path"].partition("=")[2]
    with api.sessions.begin() as session:
        session.execute(text("UPDATE sign_in_tickets SET expires_at = now() - interval '1 second'"))
    assert ada.http.post("/sign-in", files=form(ticket=ticket)).status_code == 401
    ada.keyed.post("/v1/tickets")
    with api.sessions.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM sign_in_tickets WHERE expires_at < now()")) == 0


def test_without_keys_the_secret_of_this_start_signs_in_and_the_page_says_so(api: Running) -> None:
    off = Running(api.settings.model_copy(update={"auth": "off"}), api.sessions)
    off.start()
    try:
        secret = off._server.config.app.state.context.settings.local_secret.get_secret_value()
        with httpx2.Client(base_url=off.url, follow_redirects=True, timeout=120) as browser:
            assert "Secret of this start" in browser.get("/").text
            assert browser.post("/sign-in", files=form(key="wrong")).status_code == 401
            assert browser.post("/sign-in", files=form(key=secret), headers={"Origin": "http://["}).status_code == 403
            assert "Keys are off" in browser.post("/sign-in", files=form(key=secret, next="/")).text
            cookie = browser.cookies["binnacle_session"]
        with httpx2.Client(base_url=off.url, headers={"Authorization": f"Bearer {secret}"}, timeout=120) as program:
            ticket = program.post("/v1/tickets").json()["path"].partition("=")[2]
    finally:
        off.stop()
    kept = httpx2.get(f"{api.url}/", headers={"Cookie": f"binnacle_session={cookie}"}, timeout=120)
    assert kept.status_code == 303  # neither the session nor a ticket of a server without keys outlasts it
    assert httpx2.post(f"{api.url}/sign-in", files=form(ticket=ticket), timeout=120).status_code == 401


def test_a_viewer_may_look_and_is_told_that_it_may_not_change(person: Make) -> None:
    viewer = person("viewer")
    ada = person()
    job = ada.submit(visibility="public")
    shown = viewer.get(f"/jobs/{job}")
    assert shown.status_code == 200
    assert "/cancel" not in shown.text
    assert viewer.get(f"/jobs/{job}/cancel").status_code == 403


def test_openapi_json_does_not_list_pages(api: Running) -> None:
    paths = {
        str(one.path) for one in iter_route_contexts(create_app(api.settings).routes) if isinstance(one.original_route, PageRoute)
    }
    assert "/jobs/{job_id}" in paths
    assert not paths & set(httpx2.get(f"{api.url}/openapi.json", timeout=120).json()["paths"])


def test_binnacle_open_prints_an_address_that_signs_in_to_a_jobs_page(
    api: Running, person: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = person(signed_in=False)
    job = ada.submit()
    monkeypatch.setenv("BINNACLE_URL", api.url)
    monkeypatch.setenv("BINNACLE_KEY", ada.key)
    printed = subprocess.run(
        [sys.executable, "-m", "binnacle", "open", job, "--print"], capture_output=True, text=True, check=True
    ).stdout.strip()
    onward, ticket = re.fullmatch(rf"{api.url}/sign-in\?next=(/jobs/{job})#ticket=([\w-]+)", printed).groups()  # type: ignore[union-attr]
    assert "Calibrate demo" in ada.http.post("/sign-in", files=form(ticket=ticket, next=onward)).text
