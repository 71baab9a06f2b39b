"""The quickstarts' commands, in their order, against a real `binnacle up`; the systemd units, as systemd reads them.

Left out, by name: `pip install` of the client (`tests/api/test_offering.py`), the paste of the key, Docker (`tests/images/test_images.py`), and
blocks of `text`, which need another host or root.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.running import Up
from tests.services import make_folder

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("python3 -m venv binnacle-env", "umask 077\ncat >", "install -m 600 .env.example .env")
URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """The service of an operator with a new home folder."""
    folder = make_folder()
    service = Up(folder / ".binnacle")
    service.start()
    yield service
    assert service.stop() == 0
    shutil.rmtree(folder)


def run(page: str, up: Up, folder: Path, **environment: str) -> str:
    """The page's shell and Python blocks in one shell; what they printed."""
    for name in ("shipped", "examples"):
        (folder / name).symlink_to(ROOT / name)
    script, left_out = ["set -euo pipefail"], 0
    for number, (language, text) in enumerate(BLOCK.findall((ROOT / "docs" / page).read_text())):
        assert language in {"sh", "python", "text"}, text
        if text.startswith(ELSEWHERE):
            left_out += 1
        elif language == "sh":
            script.append(text.replace(URL, up.url))
        elif language == "python":
            (folder / f"{number}.py").write_text(text)
            script.append(f"python {number}.py")
    assert left_out == (2 if page == "quickstart-member.md" else 1)
    given = {name: value for name, value in os.environ.items() if not name.startswith("BINNACLE_")}
    given |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=given, capture_output=True, text=True, timeout=1100, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.timeout(1200)
def test_the_operators_commands_and_then_a_members_work_in_their_order(up: Up, tmp_path: Path) -> None:
    """The member has a home of their own, and nothing of the server but its address and a key."""
    operator, member = tmp_path / "operator", tmp_path / "member"
    operator.mkdir(), member.mkdir()
    run("quickstart-operator.md", up, operator, HOME=str(up.home.parent))
    assert (operator / "backup-of-today" / "database.dump").stat().st_size > 10_000
    made = subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "create", "olga", "--role", "member", "--json"],
        env={**os.environ, "BINNACLE_HOME": str(up.home)}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = member / ".binnacle-key"
    key.write_text(json.loads(made.stdout)["key"])
    key.chmod(0o600)
    printed = run("quickstart-member.md", up, member, HOME=str(member))
    steered = printed.rstrip().splitlines()[-2]
    assert printed.rstrip().splitlines()[-1] == "(160,)"
    blocks = " ".join(printed.split())
    assert f"dose 0.5: {steered}" in blocks or blocks.count(steered) >= 2, (
        f"plain transformers must answer as the service: {steered!r}"
    )
    unsteered = re.search(r"unsteered: (.*)", printed)
    assert unsteered is not None
    assert unsteered[1].strip() != steered, "the vector must change the answer for the comparison to mean anything"


def test_the_operators_docker_commands_are_those_of_the_readme_which_are_tested() -> None:
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/quickstart-operator.md")]
    found = [[text for _, text in BLOCK.findall(page) if "docker compose up" in text] for page in pages]
    assert len(found[0]) == 1
    assert found[0] == found[1]


@pytest.mark.parametrize("unit", ["binnacle.service", "binnacle-worker.service"])
def test_systemd_takes_the_units(unit: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine (Debian: apt install systemd)")
    text = (ROOT / "docs" / "systemd" / unit).read_text()
    installed = text.replace("/srv/binnacle/code/.venv/bin/binnacle", str(Path(sys.executable).parent / "binnacle"))
    for name, content in ((unit, installed), (f"wrong-{unit}", installed.replace("KillMode=mixed", "KillMode=gently"))):
        (tmp_path / name).write_text(content)
        done = subprocess.run([program, "verify", str(tmp_path / name)], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if name in line]
        assert bool(said) == name.startswith("wrong-"), done.stderr
