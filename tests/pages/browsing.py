"""What tests do in the browser: wait, read, and go about by keyboard."""

from collections.abc import Callable

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SIZES = [(1280, 800), (390, 844)]
BROKEN = ("SEVERE", "WARNING")


def until(chrome: Chrome, holds: Callable[[], bool], seconds: float = 40) -> None:
    """Waits until it holds. A part that the page redraws between being found and being read is read again."""
    redrawn = (StaleElementReferenceException,)
    WebDriverWait(chrome, seconds, poll_frequency=0.1, ignored_exceptions=redrawn).until(lambda _: holds())


def text(chrome: Chrome) -> str:
    """What the page says, in one message: nothing can be redrawn between finding and reading."""
    return str(chrome.execute_script("return document.querySelector('main').innerText"))


def tab_to(chrome: Chrome, words: str) -> None:
    """Presses Tab until the element with these words has the focus."""
    for _ in range(60):
        element = chrome.switch_to.active_element
        if element.tag_name != "body" and words in (element.text or element.get_attribute("value") or ""):
            return
        element.send_keys(Keys.TAB)
    raise AssertionError(f"{words} cannot be reached by keyboard")


def press(chrome: Chrome, *keys: str) -> None:
    """Sends keys to what has the focus."""
    chrome.switch_to.active_element.send_keys(*keys)


def sized(chrome: Chrome, width: int, height: int, *, dark: bool = False) -> None:
    """The window as a device of this size shows it, in the light or the dark theme."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})


def as_before(chrome: Chrome) -> None:
    """Size and theme as the browser has them by itself."""
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
