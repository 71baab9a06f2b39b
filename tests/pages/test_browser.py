"""The pages in Chromium: by keyboard alone, live without a reload, silent on the console, and asking this server alone."""

import time
from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from app.jobs import claims
from app.jobs.claims import Lease
from tests.api.conftest import Running
from tests.api.lives import claim, fail
from tests.browser import browser
from tests.pages.conftest import Person
from tests.pages.stories import HOSTILE, change, finished

Make = Callable[..., Person]
SIZES = [(1280, 800), (390, 844)]
BROKEN = ("SEVERE", "WARNING")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """One browser for the module; each test signs in anew."""
    with browser() as driver:
        driver.set_page_load_timeout(20)
        yield driver


@pytest.fixture
def ada(api: Running, person: Make, chrome: Chrome) -> Iterator[Person]:
    """Somebody who is signed in in the browser, through the form and by keyboard. In the end the console must be empty."""
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


def until(chrome: Chrome, holds: Callable[[], bool], seconds: float = 40) -> None:
    """Waits until it holds."""
    WebDriverWait(chrome, seconds, poll_frequency=0.1).until(lambda _: holds())


def text(chrome: Chrome) -> str:
    return chrome.find_element(By.TAG_NAME, "main").text


def claimed(api: Running, job: str) -> Lease:
    """The job, held by a worker; jobs of other tests that come first are held too."""
    while (lease := claim(api.sessions)).job.id != job:
        pass
    return lease


def offline(chrome: Chrome, away: bool) -> None:
    """Takes the browser off the network, or puts it back."""
    chrome.execute_cdp_cmd("Network.enable", {})
    conditions = {"offline": away, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    chrome.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def tab_to(chrome: Chrome, words: str) -> None:
    """Presses Tab until the element with these words has the focus."""
    for _ in range(60):
        element = chrome.switch_to.active_element
        if element.tag_name != "body" and words in (element.text or element.get_attribute("value") or ""):
            return
        element.send_keys(Keys.TAB)
    raise AssertionError(f"{words} cannot be reached by keyboard")


@pytest.mark.parametrize("kind", ["calibrate", "steer", "extract", "generate"])
def test_a_result_fits_both_sizes_and_has_drawn_its_plots(api: Running, ada: Person, chrome: Chrome, kind: str) -> None:
    job = finished(api, ada.name, kind)
    for width, height in SIZES:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        chrome.get(f"{api.url}/jobs/{job}")
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
        for drawn in chrome.find_elements(By.CSS_SELECTOR, "svg"):
            assert drawn.rect["width"] > 200
            assert drawn.get_attribute("aria-label")
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_from_the_list_to_a_deleted_job_by_keyboard_alone(api: Running, ada: Person, chrome: Chrome) -> None:
    finished(api, ada.name, "steer")
    chrome.get(f"{api.url}/")
    tab_to(chrome, "Steer refusal on demo")
    chrome.switch_to.active_element.send_keys(Keys.ENTER)
    until(chrome, lambda: "Gain of each method" in text(chrome))
    tab_to(chrome, "Delete")
    chrome.switch_to.active_element.send_keys(Keys.ENTER)
    until(chrome, lambda: "cannot be undone" in text(chrome))
    tab_to(chrome, "Delete for good")
    chrome.switch_to.active_element.send_keys(Keys.ENTER)
    until(chrome, lambda: "You have no jobs yet" in text(chrome))


def test_a_waiting_job_changes_under_the_eye_and_becomes_its_result(api: Running, ada: Person, chrome: Chrome) -> None:
    job = ada.submit()
    chrome.get(f"{api.url}/jobs/{job}")
    assert "Waiting" in text(chrome)
    chrome.execute_script("window.kept = true")
    lease = claimed(api, job)
    with api.sessions.begin() as session:
        progress = {"phase": "generating", "progress_done": 3, "progress_total": 10, "progress_unit": "prompts"}
        claims.report(session, job, lease.token, phase_event=True, **progress)
    until(chrome, lambda: "30 % of generating" in text(chrome))
    assert chrome.execute_script("return window.kept === true"), "the page was loaded anew"
    fail(api.sessions, lease)
    until(chrome, lambda: "Failed: It broke. Mend it." in text(chrome))


def test_the_list_follows_and_survives_a_server_that_is_away(api: Running, ada: Person, chrome: Chrome) -> None:
    job = ada.submit()
    chrome.get(f"{api.url}/")
    chrome.execute_script("window.kept = true")
    change(api, job, name="renamed while open")
    until(chrome, lambda: "renamed while open" in text(chrome))
    offline(chrome, True)
    until(chrome, lambda: chrome.find_element(By.ID, "stale").is_displayed())
    offline(chrome, False)
    until(chrome, lambda: not chrome.find_element(By.ID, "stale").is_displayed())
    assert chrome.execute_script("return window.kept === true"), "the page was loaded anew"
    chrome.get_log("browser")  # the browser itself says that it was offline


def test_hostile_texts_run_nothing(api: Running, ada: Person, chrome: Chrome) -> None:
    jobs = [finished(api, ada.name, kind, name=HOSTILE, text=HOSTILE, trait=HOSTILE) for kind in ("steer", "generate")]
    for path in ("/", *(f"/jobs/{job}" for job in jobs)):
        chrome.get(api.url + path)
        assert chrome.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
        assert "<img src=x onerror=alert(1)>" in text(chrome)


def test_a_ticket_in_the_fragment_signs_in_and_leaves_the_address(api: Running, person: Make, chrome: Chrome) -> None:
    one = person(signed_in=False)
    chrome.get(f"{api.url}/sign-in")
    chrome.delete_all_cookies()
    chrome.get(api.url + one.keyed.post("/v1/tickets").json()["path"].replace("/sign-in", "/sign-in?next=/?show=failed"))
    until(
        chrome,
        lambda: one.name in chrome.find_element(By.CSS_SELECTOR, ".who").text if "/sign-in" not in chrome.current_url else False,
    )
    assert chrome.current_url == f"{api.url}/?show=failed"
    chrome.back()
    time.sleep(0.3)
    assert "ticket" not in chrome.current_url


def test_times_are_in_the_viewers_zone(api: Running, ada: Person, chrome: Chrome) -> None:
    finished(api, ada.name, "calibrate")
    chrome.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
    chrome.get(f"{api.url}/")
    shown = chrome.execute_script(
        "const tag = document.querySelector('time'); const moment = new Date(tag.dateTime);"
        "return [tag.textContent, moment.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', timeZone: 'Asia/Tokyo'})]"
    )
    assert shown[1] in shown[0]
    chrome.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
