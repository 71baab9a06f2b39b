"""Pictures of six views for the documentation, from what `binnacle demo` left: `binnacle up`, then `python -m tests.pages.screenshots`.

BINNACLE_HOME names the data folder where it is not ~/.binnacle. Pictures are written to docs/page-*.png, 1280 pixels wide.
"""

import sys
import time
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from binnacle import Client
from tests.browser import browser
from tests.pages.browsing import sized, until

DOCS = Path(__file__).resolve().parents[2] / "docs"
WIDTH, HEIGHT = 1280, 860
PROMPT = "I think a bat is a bird. Am I right?"


def main() -> None:
    """Takes all of them."""
    with Client() as client, browser() as chrome:
        study, steering = newest(client, "report"), newest(client, "steer")
        sized(chrome, WIDTH, HEIGHT)
        chrome.get(client.sign_in_address())
        until(chrome, lambda: "/sign-in" not in chrome.current_url)
        views = {
            "result": f"/jobs/{steering['id']}",
            "study": f"/jobs/{study['id']}",
            "answers": f"/jobs/{steering['id']}/answers?order=best",
        }
        for name, path in views.items():
            chrome.get(client.url + path)
            taken(chrome, name)
        tried(chrome, client, steering)
        filled(chrome, client, steering)
        chrome.get(client.url)
        taken(chrome, "jobs")


def newest(client: Client, kind: str) -> dict[str, Any]:
    """The newest finished job of a kind."""
    for job in client.jobs(kind=kind, state="succeeded"):
        if not (job["result"] or {}).get("study", {}).get("partial"):
            return dict(job)
    raise SystemExit(f"There is no finished job of the kind {kind}: run `binnacle demo` first.")


def tried(chrome: Chrome, client: Client, steering: dict[str, Any]) -> None:
    """A try with the steering's leading vector, as soon as its answers are there."""
    summary = steering["result"]["steering"]["summary"]
    leader = next(one for one in summary["methods"] if one["group"] == summary["leader"])
    *_, method = leader["group"].split("/")
    found = client.vectors(
        model=steering["model"], trait=steering["spec"]["trait"]["name"], method=method, layer=leader["layers"][0]
    )
    vector = next(iter(found))["id"]
    chrome.get(f"{client.url}/try?model={steering['model']}&v={vector}&d={leader['r'] or 0.5:.3g}")
    chrome.find_element(By.NAME, "prompt").send_keys(PROMPT)
    chrome.find_element(By.CSS_SELECTOR, "button[value=try]").click()
    until(chrome, lambda: bool(chrome.find_elements(By.CSS_SELECTOR, "#tried .columns")), seconds=180)
    taken(chrome, "try")


def filled(chrome: Chrome, client: Client, steering: dict[str, Any]) -> None:
    """The form of a steering, filled with what an earlier one was asked, and its price."""
    chrome.get(f"{client.url}/new/steer?from={steering['id']}")
    until(chrome, lambda: bool(chrome.find_elements(By.CSS_SELECTOR, "#price ul")))
    taken(chrome, "new-job")


def taken(chrome: Chrome, name: str) -> None:
    """Writes the picture."""
    time.sleep(0.5)
    (DOCS / f"page-{name}.png").write_bytes(chrome.get_screenshot_as_png())
    sys.stdout.write(f"docs/page-{name}.png\n")


if __name__ == "__main__":
    sys.exit(main())
