"""Every command of the README, as it stands there and in its order, against a real `binnacle up`.

Left out, by name: `pip install` of the client, which `tests/api/test_offering.py` does without a package index; `make`, which is what
runs this test (and the demo has its own); Docker, which needs an engine; and `binnacle up` itself, which the fixture runs.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.running import Up
from tests.services import make_folder

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = ("pip install http", "make demo", "source .venv/bin/activate\nbinnacle up", "install -m 600 .env.example .env")
URL = "http://127.0.0.1:8000"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return [(language, text) for language, text in BLOCK.findall(README)]


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """A running service with a new home folder, for both tests that use it."""
    folder = make_folder()
    service = Up(folder / ".binnacle")
    try:
        service.start()
        yield service
    finally:
        status = service.stop()
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert status == 0


def test_every_block_is_run_here_or_left_out_by_name() -> None:
    languages = {language for language, _ in blocks()}
    assert languages == {"sh", "python", "text"}
    left_out = [text for language, text in blocks() if language == "sh" and text.startswith(RUN_ELSEWHERE)]
    assert len(left_out) == len(RUN_ELSEWHERE)


@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_works_in_its_order(up: Up, tmp_path: Path) -> None:
    """One shell for all, as a reader has; the only change is the port, which may be taken on the machine that tests."""
    (tmp_path / "shipped").symlink_to(ROOT / "shipped")
    script = ["set -euxo pipefail"]
    for number, (language, text) in enumerate(blocks()):
        if language == "sh" and not text.startswith(RUN_ELSEWHERE):
            script.append(text.replace(URL, up.url))
        if language == "python":
            (tmp_path / f"{number}.py").write_text(text)
            script.append(f"{shlex.quote(sys.executable)} {number}.py")
    environment = {**os.environ, "HOME": str(up.home.parent), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("BINNACLE_URL", "BINNACLE_KEY", "BINNACLE_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    [by_python] = [json.loads(path.read_text()) for path in tmp_path.glob("job_*/calibration.json")]
    by_curl = json.loads((tmp_path / "calibration.json").read_text())
    assert by_curl == by_python, "the same request gives the same bytes"
    assert "event: succeeded" in done.stdout
    assert up.key not in done.stderr, "a program's arguments, as the trace shows them, are every account's to read"
    assert (tmp_path / "openapi.json").stat().st_size > 10_000


@pytest.mark.timeout(600)
def test_the_curl_commands_work_for_a_member_who_names_their_key_file(up: Up, tmp_path: Path) -> None:
    """The member has nothing of the server but its address and a key, in the file of docs/quickstart-member.md."""
    operator = {**os.environ, "BINNACLE_HOME": str(up.home)}
    program = [sys.executable, "-m", "app.cli"]
    if up.get("/v1/models/demo-severe")[0] == 404:  # the commands of the other test register it too
        subprocess.run(
            [*program, "models", "add", "demo-severe", "shipped/models/demo-severe"], env=operator, cwd=ROOT, check=True
        )
    made = subprocess.run([*program, "keys", "create", "bob", "--json"], env=operator, cwd=ROOT, check=True, capture_output=True)
    (tmp_path / ".binnacle-key").write_text(json.loads(made.stdout)["key"] + "\n")
    [block] = [text for _, text in blocks() if "curl" in text and "KEY_FILE" in text]
    first, rest = block.replace(URL, up.url).split("\n", 1)
    assert "~/.binnacle-key" in first
    script = f"set -euxo pipefail\nKEY_FILE=~/.binnacle-key\n{rest}"
    member = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=member, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert json.loads((tmp_path / "calibration.json").read_text())["aggregate"]["massive_dims"]
    assert (tmp_path / "refusal.gguf").stat().st_size > 100


def test_every_file_and_command_the_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:app|shipped|docs|tests|docker|\.ci)[\w./-]*)`", README))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    targets = set(re.findall(r"make ([a-z-]+)", README))
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= rules
