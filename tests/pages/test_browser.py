"""Pages in Chromium: used by keyboard alone, updated without a reload, without console messages or requests to other servers."""

import time
from collections.abc import Callable

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from app.auth import repository as accounts
from app.devices.models import Worker
from app.jobs import claims
from app.jobs.claims import Lease, Reached
from app.pages import home
from tests.api.conftest import Running
from tests.api.lives import claim, fail
from tests.pages.browsing import SIZES, as_before, press, sized, tab_to, text, until
from tests.pages.conftest import Person
from tests.pages.stories import HOSTILE, change, finished

Make = Callable[..., Person]


def claimed(api: Running, job: str) -> Lease:
    """The job's lease after a worker claimed it, and before it the jobs of other tests that are first in the queue."""
    while (lease := claim(api.sessions)).job.id != job:
        pass
    return lease


def offline(chrome: Chrome, away: bool) -> None:
    """Takes the browser off the network, or puts it back."""
    chrome.execute_cdp_cmd("Network.enable", {})
    conditions = {"offline": away, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    chrome.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


@pytest.mark.parametrize(("kind", "plots"), [("calibrate", 3), ("steer", 4), ("extract", 3), ("generate", 0)])
def test_a_result_fits_both_sizes_and_has_drawn_its_plots(
    api: Running, ada: Person, chrome: Chrome, kind: str, plots: int
) -> None:
    job = finished(api, ada.name, kind)
    for width, height in SIZES:
        sized(chrome, width, height)
        chrome.get(f"{api.url}/jobs/{job}")
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
        drawings = chrome.find_elements(By.CSS_SELECTOR, "svg")
        assert len(drawings) == plots
        for drawn in drawings:
            assert drawn.rect["width"] > 200
            assert drawn.get_attribute("aria-label")
    as_before(chrome)


BROKEN_WORDS = """
const found = [], range = document.createRange(), walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  if (!walker.currentNode.parentElement.closest('table.list td')) continue;
  for (const word of walker.currentNode.data.matchAll(/[a-z]+/gi)) {
    range.setStart(walker.currentNode, word.index);
    range.setEnd(walker.currentNode, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map(one => one.top)).size > 1) found.push(word[0]);
  }
}
return found;
"""
"""The words in cells of lists that stand on more than one line."""


def test_on_a_phone_lists_break_no_word_and_a_time_stands_in_its_own_row(
    api: Running, ada: Person, person: Make, chrome: Chrome
) -> None:
    job = ada.submit()
    lease = claimed(api, job)
    ada.submit()
    memory = {"models": 3_100_000_000, "device_free": 20_000_000_000, "device_total": 24_000_000_000}
    with api.sessions.begin() as session:
        progress = {
            "phase": "preparing_the_judge_of_refusal",
            "progress_done": 3,
            "progress_total": 10,
            "progress_unit": "prompts",
        }
        claims.report(session, job, lease.token, Reached([("phase", {"phase": "preparing_the_judge_of_refusal"})], progress))
        about = {"device": "cpu", "job_class": "model", "host": "phone", "parent_pid": 1, "version": "0.1.0"}
        session.add(Worker(id="model-0@phone", models=["demo-severe", "demo-healthy"], memory=memory, **about))
    sized(chrome, *SIZES[1])
    chrome.get(f"{api.url}/")
    rows = chrome.find_elements(By.CSS_SELECTOR, ".jobs tbody tr")
    assert len(rows) == 2
    for row in rows:
        made = row.find_element(By.CSS_SELECTOR, ".made").rect
        assert made["y"] >= row.rect["y"]
        assert made["y"] + made["height"] <= row.rect["y"] + row.rect["height"] + 1
    chrome.delete_all_cookies()
    chrome.get(f"{api.url}/sign-in")
    chrome.switch_to.active_element.send_keys(person("admin").key + Keys.ENTER)
    until(chrome, lambda: "/sign-in" not in chrome.current_url)
    for path in ("/models", "/fleet"):
        chrome.get(api.url + path)
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= SIZES[1][0]
        assert chrome.execute_script(BROKEN_WORDS) == [], path
    with api.sessions.begin() as session:
        session.delete(session.get_one(Worker, "model-0@phone"))
    as_before(chrome)


def test_from_the_list_to_a_deleted_job_by_keyboard_alone(api: Running, ada: Person, chrome: Chrome) -> None:
    finished(api, ada.name, "steer")
    chrome.get(f"{api.url}/")
    tab_to(chrome, "Steer refusal on demo")
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "Gain of each method" in text(chrome))
    tab_to(chrome, "Delete")
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "cannot be undone" in text(chrome))
    tab_to(chrome, "Delete for good")
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "You have no jobs yet" in text(chrome))


def test_the_page_of_a_waiting_job_follows_it_to_its_end_without_a_reload(api: Running, ada: Person, chrome: Chrome) -> None:
    job = ada.submit()
    chrome.get(f"{api.url}/jobs/{job}")
    assert "Waiting" in text(chrome)
    chrome.execute_script("window.kept = true")
    lease = claimed(api, job)
    with api.sessions.begin() as session:
        progress = {"phase": "generating", "progress_done": 3, "progress_total": 10, "progress_unit": "prompts"}
        claims.report(session, job, lease.token, Reached([("phase", {"phase": "generating"})], progress))
    until(chrome, lambda: "30 % of generating" in text(chrome))
    assert chrome.execute_script("return window.kept === true"), "the page was loaded anew"
    fail(api.sessions, lease)
    until(chrome, lambda: "Failed: It broke. Mend it." in text(chrome))


def test_the_list_of_jobs_follows_changes_and_says_when_it_is_stale(
    api: Running, ada: Person, chrome: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "BUSY", 2)  # seconds between polls; the page is polled about three times below
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


MARKED = "First:\u200f \u05e9\u05dc\u05d5\u05dd\u2028\u2067a\u2069.\n\tSecond.\rThird.\r\n"
"""Marks of direction, a tab, and line breaks of every kind."""


def test_what_is_not_edited_in_the_form_of_a_job_stays_as_it_was(api: Running, ada: Person, chrome: Chrome) -> None:
    """Notes with marks and line breaks, and a group that its member left (`job`) or that was deleted (`lone`)."""
    job, lone = (ada.submit(notes=MARKED) for _ in range(2))
    for one, group in ((job, f"left-{ada.name}"), (lone, f"gone-{ada.name}")):
        api.group(group, ada.name)
        assert ada.keyed.patch(f"/v1/jobs/{one}", json={"visibility": "group", "group": group}).status_code == 200
    with api.sessions.begin() as session:
        accounts.remove_member(session, f"left-{ada.name}", ada.name)
        accounts.delete_group(session, f"gone-{ada.name}")
    for one in (job, lone):
        before = ada.keyed.get(f"/v1/jobs/{one}").json()
        chrome.get(f"{api.url}/jobs/{one}/edit")
        chrome.find_element(By.ID, "name").send_keys("named", Keys.ENTER)
        until(chrome, lambda one=one: chrome.current_url.endswith(one))  # type: ignore[misc]
        after = ada.keyed.get(f"/v1/jobs/{one}").json()
        assert {name for name in before if before[name] != after[name]} <= {"name", "updated_at"}
        assert after["name"] == "named"


def test_again_without_changes_is_the_same_job_whatever_its_texts_hold(api: Running, ada: Person, chrome: Chrome) -> None:
    prompts = [{"prompt": MARKED, "system_prompt": "Rule one.\n Rule two.\u200f "}]
    asked = {"model": "demo", "prompts": prompts, "max_new_tokens": 8}
    made = ada.keyed.post("/v1/generations", json=asked).json()
    chrome.get(f"{api.url}/new/generate?from={made['id']}")
    chrome.find_element(By.CSS_SELECTOR, "button[value=submit]").click()
    until(chrome, lambda: "/jobs/job_" in chrome.current_url)
    again = ada.keyed.get(f"/v1/jobs/{chrome.current_url.rpartition('/')[2]}").json()
    assert again["id"] != made["id"]
    assert again["spec"]["prompts"] == made["spec"]["prompts"]


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
    time.sleep(0.3)  # time for the browser to go back and follow redirects
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


SEEN = """
window.told = [];
const Real = window.Notification;
window.Notification = class extends Real { constructor(title, more) { super(title, more); window.told.push([title, more.body]); } };
"""
"""Notes each notification in `window.told`, and still shows it."""


def test_the_end_of_a_job_is_notified_once_where_it_was_asked_for(api: Running, ada: Person, chrome: Chrome) -> None:
    """It is asked for by a click. A page in the background follows its job; a page where it was not asked for notifies of nothing."""
    script = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SEEN})
    chrome.execute_cdp_cmd("Browser.grantPermissions", {"origin": api.url, "permissions": ["notifications"]})
    told = "return window.told"
    try:
        silent, job = ada.submit(), ada.submit(name="wanted")
        chrome.get(f"{api.url}/jobs/{silent}")
        fail(api.sessions, claimed(api, silent))
        until(chrome, lambda: "Failed: It broke. Mend it." in text(chrome))
        assert chrome.execute_script(told) == []
        chrome.get(f"{api.url}/jobs/{job}")
        tab_to(chrome, "Notify me when it ends")
        press(chrome, Keys.ENTER)
        until(chrome, lambda: chrome.find_element(By.CSS_SELECTOR, "[data-notify]").get_attribute("aria-pressed") == "true")
        chrome.execute_script("Object.defineProperty(document, 'hidden', {get: () => true})")
        fail(api.sessions, claimed(api, job))
        until(chrome, lambda: "Failed: It broke. Mend it." in text(chrome))
        assert chrome.execute_script(told) == [["Calibrate demo", "Failed: It broke. Mend it."]]
        chrome.refresh()
        assert chrome.execute_script(told) == []
    finally:
        chrome.execute_cdp_cmd("Browser.resetPermissions", {})
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_a_browser_that_blocks_notifications_offers_none(api: Running, ada: Person, chrome: Chrome) -> None:
    blocked = {"permission": {"name": "notifications"}, "setting": "denied", "origin": api.url}
    chrome.execute_cdp_cmd("Browser.setPermission", blocked)
    try:
        chrome.get(f"{api.url}/jobs/{ada.submit()}")
        assert "No answer yet" in text(chrome)
        assert not chrome.find_element(By.CSS_SELECTOR, "[data-notify]").is_displayed()
    finally:
        chrome.execute_cdp_cmd("Browser.resetPermissions", {})
