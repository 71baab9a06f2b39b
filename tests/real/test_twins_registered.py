"""The twins of tests/real/folders.py, registered over HTTP on a running service: refused with a sentence, and no job may use them.

What inspection cannot see needs the model in memory: those twins are refused where the service proves models after inspecting them.
"""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from tests.embedded.running import Up
from tests.real.conftest import available
from tests.real.folders import SIBLINGS, TWINS, changed, tiny_folder
from tests.real.models import SMOLLM2
from tests.services import make_folder

pytestmark = pytest.mark.timeout(1200)
GOOD = ("as it is", "a tokenizer class that the library rebuilds", "a template that trims")
SECONDS = 900  # for all of them; a minute where nothing else runs


def posted(up: Up, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a POST."""
    request = urllib.request.Request(
        up.url + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {up.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


@pytest.fixture(scope="module")
def registered() -> Iterator[tuple[Up, dict[str, dict[str, Any]]]]:
    """One service, and every twin and sibling by name as the API shows it once it is ready or faulty."""
    available(SMOLLM2)
    home = make_folder()
    good = tiny_folder(home / "good")
    folders = {name: changed(SMOLLM2.folder if twin.real else good, home / name, twin.change) for name, twin in TWINS.items()}
    folders |= {f"good-{n}": changed(good, home / f"good-{n}", SIBLINGS[kind][0]) for n, kind in enumerate(GOOD)}
    up = Up(home / "data")
    up.start()
    try:
        for name, folder in folders.items():
            status, said = posted(up, "/v1/models", {"name": name, "source": str(folder)})
            assert status == 202, said
        yield up, {name: _settled(up, name, time.monotonic() + SECONDS) for name in folders}
    finally:
        up.stop()
        rmtree(home)


def _settled(up: Up, name: str, until: float) -> dict[str, Any]:
    while time.monotonic() < until:
        status, model = up.get(f"/v1/models/{name}")
        if status == 200 and model["state"] in ("ready", "faulty"):
            return dict(model)
        time.sleep(0.2)
    raise AssertionError(f"{name} is {model['state']} after {SECONDS} s: {up.output()[-2000:]}")


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_refused_with_the_sentence_a_person_needs(name: str, registered: tuple[Up, dict[str, dict[str, Any]]]) -> None:
    up, models = registered
    twin, model = TWINS[name], models[name]
    assert model["state"] == "faulty"
    assert (model["fault"]["code"] == "proof_refused") == (twin.by == "prove")
    assert re.search(twin.says, model["fault"]["detail"], re.DOTALL)
    status, problem = posted(up, "/v1/generations", {"model": name, "prompts": [{"prompt": "Hello."}]})
    assert (400 <= status < 500, "Traceback" in problem["detail"]) == (True, False)


@pytest.mark.parametrize("number", range(len(GOOD)), ids=GOOD)
def test_a_good_folder_becomes_ready(number: int, registered: tuple[Up, dict[str, dict[str, Any]]]) -> None:
    _, models = registered
    model = models[f"good-{number}"]
    assert (model["state"], model["fault"]) == ("ready", None)
    assert Path(model["source"]).name == f"good-{number}"
    assert {proof["name"] for proof in model["proofs"] if proof["outcome"] == "limited"} == SIBLINGS[GOOD[number]][1]
    assert model["proofs"]
