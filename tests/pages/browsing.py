"""What browser tests share: waiting, reading the page, using the keyboard, and setting size and theme."""

from collections.abc import Callable

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SIZES = [(1280, 800), (390, 844)]
"""Width and height of a desktop window and of a phone."""
BROKEN = ("SEVERE", "WARNING")
"""The levels of console messages that fail a test."""


def until(chrome: Chrome, holds: Callable[[], bool], seconds: float = 40) -> None:
    """Waits until `holds` returns True. It is called again where the page redrew an element between finding and reading it."""
    redrawn = (StaleElementReferenceException,)
    WebDriverWait(chrome, seconds, poll_frequency=0.1, ignored_exceptions=redrawn).until(lambda _: holds())


def text(chrome: Chrome) -> str:
    """The visible text of the page, in one message: nothing can be redrawn between finding and reading."""
    return str(chrome.execute_script("return document.querySelector('main').innerText"))


def focused(chrome: Chrome) -> str:
    """The words of the control that has the focus, empty where none has it; in one message, as in `text`."""
    found = "const one = document.activeElement; return one === document.body ? '' : one.innerText || one.value || ''"
    return str(chrome.execute_script(found))


def tab_to(chrome: Chrome, words: str) -> None:
    """Presses Tab until the control with these words has the focus."""
    for _ in range(60):
        if words in focused(chrome):
            return
        press(chrome, Keys.TAB)
    raise AssertionError(f"{words} cannot be reached by keyboard")


def press(chrome: Chrome, *keys: str) -> None:
    """Sends keys to the control that has the focus at that moment, without naming it: a redrawn part has a new one."""
    ActionChains(chrome).send_keys(*keys).perform()


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
