"""The report in Chromium, of a study as large as labs run them: fits both sizes of screen, in both themes, and is accessible."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser import browser
from tests.pages.browsing import BROKEN, SIZES, press, sized, until
from tests.reports.gathering import STUDY, Limits, gathered, html_of, summary
from workers.reports.document import build
from workers.reports.gathered import Gathered

AXE = (Path(__file__).parents[1] / "pages" / "vendor" / "axe.min.js").read_text(encoding="utf-8")
LOOK = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa"], resultTypes: ["violations"]}).then(found => done(
    found.violations.filter(one => ["serious", "critical"].includes(one.impact))
        .map(one => [one.id, ...one.nodes.slice(0, 5).map(node => node.html.slice(0, 200) + node.failureSummary)])));
"""
WIDE = """
return [...document.querySelectorAll("#tables .scroll")].filter(box => box.scrollWidth > box.clientWidth + 1)
    .map(box => [box.closest(".group").querySelector("h3").textContent, box.scrollWidth, box.clientWidth]);
"""
OPENED = """
for (const one of document.querySelectorAll("details")) one.open = !one.matches(".behind");
let first = document.querySelector("details.behind");
while (first) { first.open = true; first = first.querySelector("details.behind"); }
"""
"""Opens every fold, but of those with answers only the first: axe-core would look at thousands of rows that are alike."""
METHODS = ("probe", "mean_diff", "mean_diff_cleaned", "mean_diff_preclean", "mean_diff_rownorm", "probe_cleaned", "pca_contrast",
           "probe__c-0.01", "mean_diff_top3", "mean_diff_top10", "gradient", "ridge")  # fmt: skip
MODELS = ("llama-3.2-3b-instruct", "qwen2.5-7b-instruct")


def large() -> Gathered:
    """Two models with two traits and twelve methods each; the verdicts are words of every length."""
    gains: dict[str, Limits] = {name: (60.0 - at, 50.0, 70.0) for at, name in enumerate(METHODS)}
    ties: dict[str, Limits] = dict.fromkeys(METHODS[1:], (-1.0, -4.0, 3.0))
    parts = [gathered({trait: steered(gains, ties) for trait in ("refusal", "sycophancy")}, model=model) for model in MODELS]
    facts: dict[str, dict[str, Any]] = {"calibrations": {}, "provenance": {}, "sources": {}}
    for part in parts:
        for name, held in facts.items():
            held.update(getattr(part, name))
    cells = [
        replace(cell, links={"steering": f"/v1/steerings/{cell.trait}-{at}", "extraction": "/v1/x"})
        for at, part in enumerate(parts) for cell in part.cells
    ]  # fmt: skip
    return Gathered(facts["calibrations"], cells, [], facts["sources"], provenance=facts["provenance"])


def steered(gains: dict[str, Limits], ties: dict[str, Limits]) -> dict[str, Any]:
    """A summary with dose-response curves, and verdicts that are long."""
    found = summary(gains, ties, massive_part="signal")
    said = ("ties", "worse", "not enough evidence", "the leader")
    for at, one in enumerate(found["contrasts"]["dose"]):
        one["verdict"] = said[at % len(said)]
    found["subjects"] = [
        {"name": group["subject"], "group": group["group"], "method": group["method"], "layers": [2], "same_as": None,
         "curve": [{"run": f"selection-{group['method']}-{r}", "r": r, "trait": 80.0 * r, "coherence": 99 - 60 * r} for r in (0.25, 0.5, 1.0)]}
        for group in found["groups"]
    ]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that shows the report as a file."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html_of(build(STUDY | {"models": list(MODELS)}, large())))
    with browser() as driver:
        driver.get(path.as_uri())
        driver.set_script_timeout(120)
        yield driver


@pytest.mark.parametrize(("size", "dark"), list(zip(SIZES, (False, True), strict=True)), ids=["desk, light", "phone, dark"])
def test_it_fits_and_is_accessible(chrome: Chrome, size: tuple[int, int], dark: bool) -> None:
    sized(chrome, *size, dark=dark)
    chrome.execute_script(OPENED)
    chrome.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE})
    assert chrome.execute_async_script(LOOK) == []
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= size[0]
    if size[0] == 1280:
        assert chrome.execute_script(WIDE) == []
    assert [entry["message"] for entry in chrome.get_log("browser") if entry["level"] in BROKEN] == []


def test_method_and_verdict_stay_in_view_on_a_phone(chrome: Chrome) -> None:
    sized(chrome, *SIZES[1])
    [box, *_] = [one for one in chrome.find_elements(By.CSS_SELECTOR, "#tables .scroll") if "the leader" in one.text]
    chrome.execute_script("arguments[0].scrollLeft = 10000", box)
    row = next(one for one in box.find_elements(By.CSS_SELECTOR, "tbody tr") if "the leader" in one.text)
    edge = box.rect["x"]
    places = [cell.rect for cell in row.find_elements(By.TAG_NAME, "td")[:2]]
    assert [round(one["x"] - edge) >= 0 for one in places] == [True, True]
    assert places[1]["x"] + places[1]["width"] < edge + box.rect["width"] * 0.75, "there is room for the numbers beside them"


def test_a_number_opens_the_answers_behind_it(chrome: Chrome) -> None:
    sized(chrome, *SIZES[0])
    chrome.execute_script("document.querySelectorAll('details').forEach(one => { one.open = false; })")
    link = chrome.find_element(By.CSS_SELECTOR, "#tables td a")
    behind = chrome.find_element(By.ID, link.get_attribute("href").partition("#")[2])
    assert not behind.is_displayed()
    chrome.execute_script("arguments[0].focus()", link)
    press(chrome, Keys.ENTER)
    until(chrome, behind.is_displayed)
    assert "Answer 4 of " in behind.text
