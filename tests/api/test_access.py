"""Every route but the public ones needs a valid key; roles limit what a key may do; other users' private objects answer 404."""

import asyncio
import re
import time
from pathlib import Path

import httpx2
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.auth import keyring, repository
from app.auth.keys import ensure_first_key, new_key, well_formed
from app.auth.models import ApiKey, User
from app.db import AsyncDatabase
from app.main import create_app
from app.offering.wheel import FILENAME
from app.pages.doors import PageRoute
from app.server import make_server
from app.settings import Settings
from tests.api.conftest import PEPPER, Running, submit
from tests.api.lives import claim, succeed

PUBLIC = {"/livez", "/readyz", "/openapi.json", "/client/", f"/client/{FILENAME}"}


def routes(settings: Settings) -> list[tuple[str, str]]:
    """Every method and path of the API. The pages are left out: `tests/pages/test_signing_in.py` tests them."""
    found = []
    for context in iter_route_contexts(create_app(settings).routes):
        assert isinstance(context.original_route, APIRoute), context.path
        if isinstance(context.original_route, PageRoute):
            continue
        found += [(method, str(context.path)) for method in context.methods or set()]
    return found


def test_every_route_but_the_public_ones_needs_a_key(api: Running) -> None:
    served = routes(api.settings)
    assert len(served) > 15
    with httpx2.Client(base_url=api.url, timeout=120) as nobody:
        for method, path in served:
            response = nobody.request(method, re.sub(r"\{\w+\}", "x", path))
            if path in PUBLIC:
                assert response.status_code == 200, path
            else:
                assert response.status_code == 401, path
                if method != "HEAD":  # which has no body
                    assert response.json()["code"] == "unauthenticated", path
                assert response.headers["WWW-Authenticate"] == "Bearer"


def test_without_a_key_the_body_is_not_read(api: Running) -> None:
    with httpx2.Client(base_url=api.url, timeout=120) as nobody:
        response = nobody.post("/v1/calibrations", content=b"{not json", headers={"Content-Type": "application/json"})
    assert response.status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer bnk_x", "Basic {key}", "Bearer {key}x", "Bearer {forged}", "{key}"])
def test_only_an_issued_key_in_the_header_is_accepted(api: Running, header: str) -> None:
    key = api.key("ada")
    forged = new_key("ada", "admin", PEPPER).text  # well formed, never issued
    with httpx2.Client(base_url=api.url, timeout=120) as client:
        answer = client.get("/v1/jobs", headers={"Authorization": header.format(key=key, forged=forged)})
        in_the_address = client.get("/v1/jobs", params={"key": key, "access_token": key})
    assert answer.status_code == 401
    assert (in_the_address.status_code, in_the_address.json()["code"]) == (400, "key_in_address")
    assert key not in in_the_address.text


def test_a_key_made_with_another_pepper_is_refused(api: Running, sessions: sessionmaker[Session]) -> None:
    made = new_key("ada", "admin", "another pepper")
    with sessions.begin() as session:
        repository.add_user(session, "ada", "test")
        session.add(made.row)
    with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {made.text}"}, timeout=120) as client:
        assert client.get("/v1/jobs").status_code == 401


def test_revoked_and_expired_keys_are_refused_once_the_cache_forgets_them(
    api: Running, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "LIFETIME", 0.2)
    with api.client("ada") as revoked, api.client("bob") as expired:
        assert [client.get("/v1/jobs").status_code for client in (revoked, expired)] == [200, 200]
        with sessions.begin() as session:
            session.execute(text("UPDATE api_keys SET revoked_at = now() WHERE owner = 'ada'"))
            session.execute(text("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE owner = 'bob'"))
        time.sleep(0.3)  # longer than LIFETIME above
        assert [client.get("/v1/jobs").status_code for client in (revoked, expired)] == [401, 401]


@pytest.mark.parametrize("answers", [True, False], ids=["a key that was never issued", "a database that is away"])
def test_concurrent_requests_with_one_key_share_one_query(
    settings: Settings, sessions: sessionmaker[Session], answers: bool, unused_port: int
) -> None:
    """Otherwise each would wait for the timeouts of all before it. A cancelled request does not cost the others their answer."""
    url = settings.database_url.get_secret_value() if answers else f"postgresql+psycopg://nobody@127.0.0.1:{unused_port}/none"
    key = new_key("ada", "member", PEPPER).text

    async def asked(count: int) -> tuple[int, list[object]]:
        """Sends `count` requests, cancels the first, and sends one more: the statements (or attempts to connect), and the results."""
        database, costs = AsyncDatabase(url), []

        @event.listens_for(database.engine.sync_engine, "before_cursor_execute" if answers else "do_connect")
        def count_it(*_: object) -> None:
            costs.append(1)

        ring = keyring.Keyring(database, PEPPER)
        if answers:
            await database.run(lambda session: session.execute(text("SELECT 1")))
            costs.clear()
        requests = [asyncio.create_task(ring.holder(key)) for _ in range(count)]
        await asyncio.sleep(0)
        requests[0].cancel()
        told = await asyncio.gather(*requests[1:], return_exceptions=True)
        again = await asyncio.gather(ring.holder(key), return_exceptions=True)
        await database.engine.dispose()
        return len(costs), told + again

    alone, _ = asyncio.run(asked(2))
    cost, told = asyncio.run(asked(20))
    assert cost == alone > 0
    assert len(told) == 20
    assert all(one is None if answers else isinstance(one, OperationalError) for one in told), told


def test_a_mistyped_key_is_told_from_a_real_one_without_the_database() -> None:
    key = new_key("ada", "member", PEPPER).text
    assert well_formed(key)
    for i in range(len(key)):
        other = "A" if key[i] != "A" else "B"
        assert not well_formed(key[:i] + other + key[i + 1 :])


def test_the_first_key_is_made_once_and_only_its_owner_can_read_it(
    settings: Settings, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    file = tmp_path / "deep" / "key"
    first = ensure_first_key(sessions, file, pepper=PEPPER)
    assert first is not None
    assert ensure_first_key(sessions, file, pepper=PEPPER) == first == file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 1
        row = session.scalars(select(ApiKey)).one()
    assert row.role == "admin"
    assert first.split("_")[2].encode() not in row.secret_hmac
    file.write_text("bnk_lost\n")
    assert ensure_first_key(sessions, file, pepper=PEPPER) != first


def test_no_key_is_made_for_a_disabled_administrator(sessions: sessionmaker[Session], tmp_path: Path) -> None:
    """Every start of a server calls `ensure_first_key`."""
    file = tmp_path / "key"
    first = ensure_first_key(sessions, file, pepper=PEPPER)
    with sessions.begin() as session:
        session.execute(update(User).where(User.name == "admin").values(disabled_at=func.now()))
    assert ensure_first_key(sessions, file, pepper=PEPPER) is None
    assert file.read_text().strip() == first
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 1


def test_another_users_private_job_is_not_found_at_any_address(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada)["id"]
    succeed(sessions, api.context.storage, claim(sessions))
    calibration = ada.get(f"/v1/jobs/{job}").json()["result"]["calibration"]["id"]
    paths = [
        ("GET", f"/v1/jobs/{job}"),
        ("GET", f"/v1/jobs/{job}?wait=1"),
        ("GET", f"/v1/jobs/{job}/events"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("POST", f"/v1/jobs/{job}/retry"),
        ("GET", f"/v1/jobs/{job}/artifacts/calibration.json"),
        ("GET", f"/v1/calibrations/{calibration}"),
        ("GET", f"/v1/calibrations/{calibration}/calibration.json"),
        ("GET", f"/v1/calibrations/{job}/calibration.json"),
    ]
    with api.client("bob") as bob:
        for method, path in paths:
            private, missing = (
                bob.request(method, path),
                bob.request(method, path.replace(job[4:], "0" * 26).replace(calibration[4:], "0" * 26)),
            )
            assert (private.status_code, missing.status_code) == (404, 404), path
        assert bob.get("/v1/jobs").json()["items"] == []
        assert bob.get("/v1/calibrations").json()["items"] == []
    assert admin.get(f"/v1/jobs/{job}").status_code == 200
    assert [one["id"] for one in admin.get("/v1/calibrations").json()["items"]] == [calibration]


def test_viewers_read_and_members_register_nothing(api: Running, ada: httpx2.Client) -> None:
    model = {"name": "m", "source": "/models/m"}
    with api.client("eve", "viewer") as viewer:
        assert viewer.get("/v1/jobs").status_code == 200
        assert viewer.post("/v1/calibrations", json={"model": "demo"}).json()["code"] == "forbidden"
        assert viewer.post("/v1/models", json=model).status_code == 403
    assert ada.post("/v1/models", json=model).status_code == 403
    assert ada.post("/v1/models/demo/inspect").status_code == 403
    assert ada.delete("/v1/models/demo").status_code == 403


def test_an_empty_pepper_keeps_the_server_from_starting(settings: Settings) -> None:
    unsafe = settings.model_copy(update={"key_pepper": type(settings.key_pepper)("")})
    server = make_server(unsafe, "127.0.0.1", 0)
    with pytest.raises(SystemExit):
        server.run()
