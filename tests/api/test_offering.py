"""The server offers the client of its own version, which pip installs from the server's address without a key."""

import re
import subprocess
import sys
import venv
import zipfile
from html import unescape
from io import BytesIO
from pathlib import Path

import httpx2
from sqlalchemy.orm import Session, sessionmaker

from app.offering.wheel import FILENAME, wheel
from app.settings import Settings
from binnacle.version import DISTRIBUTION, VERSION
from tests.api.conftest import Running
from tests.test_secrets_in_docs import commands, secret_in

ROOT = Path(__file__).resolve().parents[2]


def installed(python: Path) -> str:
    """Where this interpreter finds the client, and its version by module and by distribution."""
    code = "import binnacle, importlib.metadata as m; print(binnacle.__file__, binnacle.__version__, m.version('binnacle-interp-client'))"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout


def test_pip_installs_the_client_from_the_servers_page_without_a_key(api: Running, tmp_path: Path) -> None:
    """By the address of the file, and by name through the page; the sum in the page's link is checked by pip."""
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
    ]
    for wanted in ([f"{api.url}/client/{FILENAME}"], ["--find-links", f"{api.url}/client/", DISTRIBUTION]):
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        place, *versions = installed(python).split()
        assert place.startswith(str(tmp_path))
        assert versions == [VERSION, VERSION]
        helped = subprocess.run([python.with_name("binnacle"), "--help"], capture_output=True, text=True, check=True, cwd="/")
        assert "watch" in helped.stdout


def test_the_page_shows_commands_with_the_address_it_was_requested_by(api: Running) -> None:
    with httpx2.Client(base_url=api.url, timeout=120) as nobody:
        page = nobody.get("/client", follow_redirects=True)
        assert page.headers["Content-Type"].startswith("text/html")
        assert f"pip install {api.url}/client/{FILENAME}" in page.text
        [href] = re.findall(r'href="([^"]+)"', page.text)
        file = nobody.get(f"/client/{href.partition('#')[0]}")
        assert href.endswith(f"#sha256={wheel().digest}")
        assert file.headers["ETag"] == f'"{wheel().digest}"'
        assert zipfile.ZipFile(BytesIO(file.content)).testzip() is None
        forged = nobody.get("/client/", headers={"Host": 'x"><script>alert(1)</script>'})
    assert "<script>" not in forged.text


def test_the_page_shows_no_key_and_the_address_that_people_use(settings: Settings, sessions: sessionmaker[Session]) -> None:
    """Behind a proxy with TLS the server is asked by http: that address would carry keys in the clear."""
    running = Running(settings.model_copy(update={"public_url": "https://binnacle.lab/"}), sessions)
    running.start()
    try:
        text = unescape(httpx2.get(f"{running.url}/client/", timeout=120).text)
    finally:
        running.stop()
    assert f"pip install https://binnacle.lab/client/{FILENAME}" in text
    assert "BINNACLE_URL=https://binnacle.lab BINNACLE_KEY=$(cat ~/.binnacle-key)" in text
    assert "http://" not in text
    blocks = re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)
    assert [command for block in blocks for command in commands(block) if secret_in(command)] == []
    [asking] = [block for block in blocks if "cat >" in block]
    assert "\n" not in asking, "a line pasted after this one would go into the key's file"


def test_the_offered_wheel_holds_the_package_as_it_is_here() -> None:
    packed = zipfile.ZipFile(BytesIO(wheel().data))
    for name in packed.namelist():
        if name.startswith("binnacle/"):
            assert packed.read(name) == (ROOT / name).read_bytes()
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "binnacle").rglob("*.py")
        if "build" not in path.relative_to(ROOT).parts
    }
    assert sources <= set(packed.namelist())
    wheel.cache_clear()
    again = wheel()
    wheel.cache_clear()
    assert again == wheel()
