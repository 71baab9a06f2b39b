"""Fixtures of the pages' tests: one service for a module, and people who use it by an HTTP client with cookies or in Chromium."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx2
import pytest

from app.db import make_engine, make_sessions
from app.embedded.broker import Broker
from app.settings import Settings
from tests.api.conftest import PEPPER, VERIFY, Running

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FIELD = re.compile(r'name="(csrf|once)" value="([0-9a-f]*)"')
_numbers = itertools.count(1)


class Person:
    """A user with a browser without scripts, which keeps cookies and sends forms, and with a client of the API."""

    def __init__(self, api: Running, name: str, key: str) -> None:
        self.name, self.key, self.api = name, key, api
        self.http = httpx2.Client(base_url=api.url, timeout=120, verify=VERIFY, follow_redirects=True)
        self.keyed = httpx2.Client(base_url=api.url, timeout=120, verify=VERIFY, headers={"Authorization": f"Bearer {key}"})

    def sign_in(self, onward: str = "/") -> httpx2.Response:
        """What the sign-in form sends."""
        return self.http.post("/sign-in", files=form(key=self.key, next=onward))

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def send(self, path: str, shown_at: str | None = None, **fields: str) -> httpx2.Response:
        """Sends the form that the page at `shown_at` (else at `path`) shows, with its hidden fields."""
        hidden = dict(FIELD.findall(self.get(shown_at or path).text))
        return self.http.post(path, files=form(**{**hidden, **fields}))

    def submit(self, **body: object) -> str:
        """Submits a calibration of `demo` by the API; returns its id."""
        answer = self.keyed.post("/v1/calibrations", json={"model": "demo", **body})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


def form(**fields: str) -> dict[str, tuple[None, str]]:
    """A multipart form of text fields, as browsers send it."""
    return {name: (None, value) for name, value in fields.items()}


@pytest.fixture(scope="module")
def settings(
    postgres_url_factory: Callable[[], str],
    broker: Broker,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Settings:
    """Settings of the module's application."""
    folder = tmp_path_factory.mktemp("pages")
    return Settings(
        database_url=postgres_url_factory(), broker_url=broker.url, storage_url=f"file://{folder}/objects",
        broker_prefix=f"{request.module.__name__}:", key_pepper=PEPPER, home=folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[Running]:
    """The application with one usable model `demo`."""
    engine = make_engine(settings.database_url.get_secret_value())
    running = Running(settings, make_sessions(engine))
    running.start()
    running.add_model()
    yield running
    running.stop()
    engine.dispose()


@pytest.fixture
def person(api: Running) -> Iterator[Callable[..., Person]]:
    """Makes a new user of the role, signed in unless told otherwise."""
    made: list[Person] = []

    def make(role: str = "member", *, signed_in: bool = True) -> Person:
        name = f"user{next(_numbers)}"
        one = Person(api, name, api.key(name, role))
        made.append(one)
        if signed_in:
            assert one.sign_in().status_code == 200
        return one

    yield make
    for one in made:
        one.http.close()
        one.keyed.close()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """One browser for the module; each test signs in again."""
    from tests.browser import browser

    with browser() as driver:
        driver.set_page_load_timeout(120)  # these end a hang: a page, or a look at all of it, takes seconds on a busy machine
        driver.set_script_timeout(120)
        yield driver


@pytest.fixture
def ada(api: Running, person: Callable[..., Person], chrome: Chrome) -> Iterator[Person]:
    """A user who signed in in the browser by keyboard. After the test the console must be empty, and no other server asked."""
    from selenium.webdriver.common.keys import Keys

    from tests.pages.browsing import BROKEN, until

    chrome.get(f"{api.url}/sign-in")
    chrome.delete_all_cookies()
    chrome.get_log("browser")
    one = person()
    chrome.get(f"{api.url}/")
    assert "/sign-in" in chrome.current_url
    chrome.switch_to.active_element.send_keys(one.key + Keys.ENTER)
    until(chrome, lambda: "/sign-in" not in chrome.current_url)
    yield one
    assert [entry for entry in chrome.get_log("browser") if entry["level"] in BROKEN] == []
    asked = chrome.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert [address for address in asked if not address.startswith(api.url)] == []
