"""Chromium without a window, for tests of what a person sees. `make test` installs it where apt can; without it such tests are skipped."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,2000",
)


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A fresh profile that talks to this machine alone and keeps what pages say on their console."""
    if PROGRAM is None or DRIVER is None:
        pytest.skip("no Chromium with its driver on this machine: `make browser` installs it")
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="binnacle-chromium-") as profile:
        for argument in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


class _Page(SimpleHTTPRequestHandler):
    """Serves files under the content security policy that the service gave them, and logs nothing."""

    def __init__(self, *args: object, policy: str, **named: object) -> None:
        self.policy = policy
        super().__init__(*args, **named)  # type: ignore[arg-type]

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self.policy)
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path, policy: str) -> Iterator[str]:
    """The address under which a folder's files are served with `policy`, as the service does for a person with a key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Page, directory=str(folder), policy=policy))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
