"""The API browser at /docs: drawn from the server's own description, under its policy, asking this server alone."""

import json

import httpx2
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.api.conftest import VERIFY, Running
from tests.browser import browser
from tests.pages.browsing import BROKEN

KEPT = "window.reports = []; document.addEventListener('securitypolicyviolation', event => window.reports.push(event.violatedDirective))"
"""Notes violations of the content security policy in `window.reports`."""


def test_it_can_be_read_without_a_key_and_runs_no_inline_script_or_style(api: Running) -> None:
    answer = httpx2.get(f"{api.url}/docs", timeout=120, verify=VERIFY)
    assert answer.status_code == 200
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert answer.text.count("<script") == answer.text.count("<script src=") == 2


def test_a_request_is_tried_with_a_key_in_the_browser(api: Running) -> None:
    key = api.key("reader-of-docs", "member")
    with browser() as chrome:
        chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": KEPT})
        chrome.get(f"{api.url}/docs")
        wait = WebDriverWait(chrome, 60, poll_frequency=0.2)

        def found(selector: str) -> object:
            return wait.until(lambda _: next((one for one in chrome.find_elements(By.CSS_SELECTOR, selector)), None))

        def click(selector: str) -> None:
            found(selector)
            chrome.execute_script("document.querySelector(arguments[0]).click()", selector)

        described = httpx2.get(f"{api.url}/openapi.json", timeout=120, verify=VERIFY).json()
        tags = {told["tags"][0] for item in described["paths"].values() for told in item.values()}
        found(".opblock-tag-section")
        assert len(chrome.find_elements(By.CSS_SELECTOR, ".opblock-tag-section")) == len(tags)

        click("button.authorize")
        found(".auth-container input").send_keys(key)  # type: ignore[attr-defined]
        click(".auth-btn-wrapper button.authorize")
        click(".auth-btn-wrapper .btn-done")
        click('h3[data-tag="access"]')
        mine = "#operations-access-getMe"
        click(f"{mine} .opblock-summary-control")
        click(f"{mine} .try-out__btn")
        click(f"{mine} .execute")
        wait.until(lambda _: "reader-of-docs" in found(mine).text)  # type: ignore[attr-defined]

        assert chrome.execute_script("return window.reports") == []
        assert [entry for entry in chrome.get_log("browser") if entry["level"] in BROKEN] == []
        asked = chrome.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        outside = [address for address in asked if not address.startswith((api.url, "data:"))]
        assert outside == [], json.dumps(outside)
