"""Every view in Chromium, at both sizes and in both themes, is accessible (axe-core) and fits; and what people do by keyboard works."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sqlalchemy import delete

from app.devices.models import Worker
from app.pages import home, jobs
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.pages.browsing import BROKEN, SIZES, as_before, focused, press, sized, tab_to, text, until
from tests.pages.conftest import Person
from tests.pages.stories import HOSTILE, SHEET, change, finished

Make = Callable[..., Person]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
LOOK = """
const done = arguments[arguments.length - 1];
const serious = one => ["serious", "critical"].includes(one.impact);
const told = one => [one.id, ...one.nodes.map(node => `${node.html.slice(0, 200)} ${node.failureSummary.slice(0, 300)}`)];
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"]}).then(found => done({
    axe: found.violations.filter(serious).map(told),
    width: Math.max(0, document.documentElement.scrollWidth - innerWidth),
    hostile: document.querySelectorAll("img[src=x]").length,
    elsewhere: performance.getEntriesByType("resource").map(one => one.name).filter(one => !one.startsWith(location.origin)),
}));
"""
"""What axe-core finds that is serious, pixels beyond the screen, elements that a hostile text became, and requests elsewhere."""

WALK = """
for (const fold of document.querySelectorAll("details")) fold.open = true;
window.steps = [];
document.addEventListener("focusin", (event) => {
    const style = getComputedStyle(event.target), box = event.target.getBoundingClientRect();
    window.steps.push({element: event.target, ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
                       onScreen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth});
});
const groups = new Set();
window.reachable = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter((one) => {
    if (one.disabled || one.type === "hidden" || one.tabIndex < 0 || !one.checkVisibility({visibilityProperty: true})) return false;
    if (one.type !== "radio") return true;
    const first = !groups.has(one.name);
    groups.add(one.name);
    return first;
});
document.activeElement.blur();
return window.reachable.length;
"""
"""Opens every fold, and writes down what gets the focus. Of radio buttons Tab reaches one of a group."""
WALKED = """
const name = (one) => one.outerHTML.slice(0, 140);
const radio = (one) => one.type === "radio" ? document.querySelector(`[name="${one.name}"]`) : one;
const seen = window.steps.map(step => radio(step.element));
const order = [...new Set(seen)];
return {
    missed: window.reachable.filter(one => one.isConnected && !seen.includes(one)).map(name),
    unseen: window.steps.filter(step => !step.ring || !step.onScreen).map(step => name(step.element)),
    disordered: order.filter((one, at) => at && order[at - 1].compareDocumentPosition(one) & Node.DOCUMENT_POSITION_PRECEDING).map(name),
    popups: document.querySelectorAll("dialog, [role=dialog], [role=menu], [popover], [aria-haspopup]").length,
};
"""
"""Controls that Tab did not reach (a part that is replaced meanwhile has new ones), that show no focus or are off the screen with it, and
those before the one that Tab came from. A popup needs a test that Escape closes it and gives the focus back: there is none so far."""


@pytest.fixture(scope="module")
def views(api: Running) -> dict[str, str]:
    """The address of every view by its name; what the views show is public."""
    owner = "views"
    api.key(owner)
    jobs = {
        kind: finished(api, owner, kind, visibility="public", name=HOSTILE, text=HOSTILE if kind != "steer" else "Sure.\nSo.")
        for kind in ("calibrate", "extract", "steer", "report", "generate")
    }
    failed = finished(api, owner, "steer", visibility="public")
    change(api, failed, state="failed", result=None, error={"code": "x", "detail": HOSTILE})
    made, extraction = store_extraction(api.sessions, api.context.storage, owner, "b" * 64)
    change(api, extraction, visibility="public", result={"extraction": {"id": made, "summary": {}}})
    with api.sessions.begin() as session:
        memory = {"models": 3_000_000_000, "device_free": 2e10, "device_total": 2.4e10}
        about = {"job_class": "model", "device": "cuda:0", "host": "gpu", "parent_pid": 1, "version": "1"}
        session.merge(Worker(id="view-0", memory=memory, models=["demo"], **about))
    with api.client(owner) as client:
        [first, second, *_] = [one["id"] for one in client.get("/v1/vectors", params={"layer": 2}).json()["items"]]
    return {
        "home": "/?whose=all", "nothing found": "/?q=nothing", "new": "/new", "extract form": "/new/extract?model=demo",
        "generate form": "/new/generate?model=demo", "again": f"/new/steer?from={failed}", "study form": "/new/report",
        **{f"result of {kind}": f"/jobs/{job}" for kind, job in jobs.items()}, "failed": f"/jobs/{failed}",
        "answers": f"/jobs/{jobs['steer']}/answers", "label": f"/jobs/{jobs['report']}/label", "delete": f"/jobs/{jobs['steer']}/delete",
        "edit": f"/jobs/{jobs['steer']}/edit", "try": f"/try?model=demo&v={first}", "vectors": "/vectors", "vector": f"/vectors/{first}",
        "cosines": f"/vectors/cosines?v={first}&v={second}", "traits": "/traits", "trait": "/traits/refusal", "upload": "/traits/new",
        "models": "/models", "model": "/models/demo", "fleet": "/fleet", "hold": "/fleet/view-0/pause", "not there": "/jobs/job_" + "0" * 26,
    }  # fmt: skip


@pytest.fixture
def root(api: Running, person: Make, chrome: Chrome) -> Person:
    """An administrator who is signed in in the browser."""
    one = person("admin", signed_in=False)
    chrome.get(f"{api.url}/sign-in")
    chrome.delete_all_cookies()
    chrome.get("about:blank")  # the ticket alone would be a place on the same page
    chrome.get(api.url + one.keyed.post("/v1/tickets").json()["path"])
    until(chrome, lambda: one.name in chrome.find_element(By.TAG_NAME, "body").text)
    return one


def test_every_view_is_accessible_and_fits_and_is_silent(
    api: Running, root: Person, chrome: Chrome, views: dict[str, str]
) -> None:
    wrong: dict[str, Any] = {}
    for (width, height), dark in zip(SIZES, (False, True), strict=True):
        sized(chrome, width, height, dark=dark)
        for name, path in views.items():
            chrome.get_log("browser")
            chrome.get(api.url + path)
            chrome.execute_script(AXE)
            found = {what: told for what, told in chrome.execute_async_script(LOOK).items() if told}
            said = [one["message"] for one in chrome.get_log("browser") if one["level"] in BROKEN and name != "not there"]
            if found or said:
                wrong[f"{name} at {width}{', dark' if dark else ''}"] = found | {"console": said}
    as_before(chrome)
    assert wrong == {}


def test_every_view_marks_its_place_in_the_navigation(root: Person, views: dict[str, str]) -> None:
    """`page` for the page itself, `true` for one below it."""
    assert root.sign_in().status_code == 200
    places = {
        "/new/": "/new", "/jobs/": "/", "/vectors/": "/vectors", "/traits/": "/traits", "/models/": "/models", "/fleet/": "/fleet",
    }  # fmt: skip
    for name, path in views.items():
        bare = path.partition("?")[0]
        wanted = next(((place, "true") for below, place in places.items() if bare.startswith(below)), (bare, "page"))
        [bar] = re.findall(r'<nav aria-label="Main">.*?</nav>', root.get(path).text, re.DOTALL)
        assert re.findall(r'<a href="([^"]+)" aria-current="(\w+)"', bar) == [wanted], name


def test_tab_reaches_every_control_of_every_view_in_order_and_shows_where_it_is(
    api: Running, root: Person, chrome: Chrome, views: dict[str, str]
) -> None:
    wrong: dict[str, Any] = {}
    for name, path in views.items():
        chrome.get(api.url + path)
        count = int(chrome.execute_script(WALK))
        assert count >= 8, f"{name} has less than the bar at its top"
        chrome.switch_to.active_element.send_keys(Keys.TAB * count)
        found = {what: told for what, told in chrome.execute_script(WALKED).items() if told}
        if found:
            wrong[name] = found
    assert wrong == {}


def test_a_part_that_is_replaced_leaves_the_focus_where_it_was(
    api: Running, ada: Person, chrome: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes by keyboard must not start at the top of the page again whenever a job makes progress."""
    monkeypatch.setattr(home, "BUSY", 2)
    monkeypatch.setattr(jobs, "WAIT_SECONDS", 1)  # a new name alone does not end the wait
    job = ada.submit()
    chrome.get(f"{api.url}/jobs/{job}")
    tab_to(chrome, "Cancel")
    change(api, job, name="renamed while the focus was in it")
    until(chrome, lambda: "renamed while the focus was in it" in text(chrome))
    assert focused(chrome) == "Cancel"
    change(api, job, tags=["pilot"])
    chrome.get(f"{api.url}/")
    tab_to(chrome, "pilot")
    change(api, job, name="renamed again")
    until(chrome, lambda: "renamed again" in text(chrome))
    assert focused(chrome) == "pilot"


def test_a_job_is_made_by_keyboard_and_its_price_follows_the_form(api: Running, ada: Person, chrome: Chrome) -> None:
    chrome.get(f"{api.url}/")
    tab_to(chrome, "New job")
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "Calibrate a model" in text(chrome))
    tab_to(chrome, "Calibrate a model")
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "Price" in text(chrome) or "PRICE" in text(chrome))
    chrome.find_element(By.ID, "content").find_element(By.NAME, "model").send_keys("demo")
    until(chrome, lambda: "50 prompts x 128 new tokens = 6,400 generated tokens" in text(chrome))
    press(chrome, Keys.TAB, "Only one prompt.")
    until(chrome, lambda: "1 prompt x 128" in text(chrome))
    summary = chrome.find_element(By.CSS_SELECTOR, ".asking summary")
    summary.send_keys(Keys.ENTER)
    chrome.find_element(By.NAME, "layers").send_keys("99")
    until(chrome, lambda: "demo has 8 layers" in chrome.find_element(By.ID, "e-layers").text)
    chrome.find_element(By.NAME, "layers").send_keys(Keys.BACKSPACE, Keys.BACKSPACE, "3")
    until(chrome, lambda: "1 prompt x 128" in text(chrome))
    chrome.find_element(By.NAME, "layers").send_keys(Keys.ENTER)
    until(chrome, lambda: "/jobs/" in chrome.current_url)
    [job] = ada.keyed.get("/v1/jobs", params={"owner": ada.name}).json()["items"]
    assert (job["spec"]["layers"], job["spec"]["prompts"]) == ([3], ["Only one prompt."])


def test_a_number_leads_to_its_answers_by_keyboard(api: Running, ada: Person, chrome: Chrome) -> None:
    chrome.get(f"{api.url}/jobs/{finished(api, ada.name, 'steer')}")
    link = chrome.find_element(By.CSS_SELECTOR, 'svg a[href*="answers?run="]')
    chrome.execute_script("arguments[0].focus()", link)
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "3 answers, mean trait" in text(chrome))
    chrome.find_element(By.NAME, "order").send_keys("judge unsure")
    tab_to(chrome, "Show")
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "order=unsure" in chrome.current_url)


def test_answers_are_labelled_by_the_keys_0_to_9(api: Running, ada: Person, chrome: Chrome) -> None:
    job = finished(api, ada.name, "report")
    chrome.get(f"{api.url}/jobs/{job}/label")
    assert "trait 9" not in text(chrome)
    for key in "05900":  # 0 to 9 mean 0 to 100
        press(chrome, key)
    assert focused(chrome) == "Send the labels"
    press(chrome, Keys.ENTER)
    until(chrome, lambda: "/label" not in chrome.current_url)
    made = ada.keyed.get(f"/v1/jobs/{chrome.current_url.rsplit('/', 1)[1]}").json()
    assert sorted(made["spec"]["labels"].values()) == [0, 0, 0, 55.6, 100]
    assert len(made["spec"]["labels"]) == SHEET.count(b"Answer")


def test_a_vector_is_tried_and_the_answers_come_without_a_reload(api: Running, ada: Person, chrome: Chrome) -> None:
    store_extraction(api.sessions, api.context.storage, ada.name, "b" * 64)
    chrome.get(f"{api.url}/try")
    chrome.find_element(By.NAME, "model").send_keys("demo")
    until(chrome, lambda: "refusal: probe, layer 2" in chrome.find_element(By.ID, "v0").text)
    chrome.find_element(By.ID, "v0").send_keys("refusal: probe, layer 2")
    until(chrome, lambda: "its cliff is not known" in text(chrome))
    slider = chrome.find_element(By.CSS_SELECTOR, '[data-slides="d0"]')
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert chrome.find_element(By.ID, "d0").get_attribute("value") == "0.6"
    chrome.find_element(By.NAME, "prompt").send_keys("Say hi.")
    chrome.find_element(By.NAME, "max_new_tokens").send_keys(Keys.ENTER)
    until(chrome, lambda: "job=job_" in chrome.current_url)
    chrome.execute_script("window.kept = true")
    [job] = ada.keyed.get("/v1/jobs", params={"kind": "generate", "owner": ada.name}).json()["items"]
    [own] = [one["id"] for one in job["spec"]["vectors"]]
    answers = [{"prompt": "Say hi.", "system_prompt": None, "vector": who, "r": r, "c": r, "text": said, "ended": True, "finite": True}
               for who, r, said in ((None, None, "Hello there."), (own, 0.6, "I would rather not."))]  # fmt: skip
    change(api, job["id"], state="succeeded", result={"answers": answers})
    until(chrome, lambda: "I would rather not." in text(chrome))
    assert chrome.execute_script("return window.kept === true"), "the page was loaded anew"


@pytest.fixture(autouse=True, scope="module")
def _no_worker_stays(api: Running) -> Any:
    """Removes the worker that `views` stores: it would change other pages."""
    yield
    with api.sessions.begin() as session:
        session.execute(delete(Worker))
