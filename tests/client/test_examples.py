"""The examples in the client's docstrings and README, and `binnacle generate`, run against a live service with real workers."""

import doctest
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import binnacle
from binnacle.parts.administration import Administration
from shipped import MODELS
from tests.embedded.running import Up
from tests.services import make_folder

README = Path(binnacle.__file__).with_name("README.md")
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def methods() -> dict[str, Any]:
    """The client class and its public methods, with those of `client.admin`, by name."""
    found = {"Client": binnacle.Client}
    for owner, prefix in ((binnacle.Client, "client"), (Administration, "client.admin")):
        functions = inspect.getmembers(owner, inspect.isfunction)
        found |= {f"{prefix}.{name}": one for name, one in functions if not name.startswith("_")}
    return found


METHODS = methods()


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, Any]]:
    """The names that the examples use, with a service that has a model, vectors, a steering and a study."""
    home, here = make_folder(), Path.cwd()
    up = Up(home, None, "--port", "0", "--device", "cpu", "--cpu-workers", "2")
    try:
        up.start()
        with binnacle.Client(up.url, up.key) as client:
            client.add_model("demo-severe", str(MODELS / "demo-severe"))
            client.await_model("demo-severe")
            client.wait(client.calibrate("demo-severe", max_new_tokens=4), timeout=500)
            client.wait(client.extract("demo-severe", "refusal", methods=["mean_diff"], layers=[3], resamples=0), timeout=500)
            small = {
                "methods": ["mean_diff"],
                "layers": [3],
                "budget": 2,
                "max_new_tokens": 4,
                "selection_limit": 12,
                "test_limit": 12,
                "controls": {"random": 0, "shuffled": 0, "prompt_only": False},
            }
            few = {"resamples": 0, "calibration_new_tokens": 4, "reuse": True}
            client.wait(client.steer("demo-severe", "refusal", decomposition=False, matched=["dose"], **small), timeout=500)
            client.wait(client.study(["demo-severe"], ["refusal"], **small, **few), timeout=500)
            (home / "work").mkdir()
            os.chdir(home / "work")
            yield {"binnacle": binnacle, "client": client, "key": up.key, "home": str(home)}
    finally:
        os.chdir(here)
        up.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_every_public_method_has_an_example() -> None:
    assert [name for name, one in METHODS.items() if ">>> " not in (one.__doc__ or "")] == []
    assert len(METHODS) > 60


def test_the_examples_of_all_docstrings_run(service: dict[str, Any]) -> None:
    """Each docstring runs on its own with the names of `service`; `client` has an administrator's key."""
    wrong: list[str] = []
    for name, method in METHODS.items():
        example = doctest.DocTestParser().get_doctest(inspect.getdoc(method) or "", dict(service), name, name, 0)
        said: list[str] = []
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append, clear_globs=False).failed
        wrong += ["".join(said)] if failed else []
    assert wrong == [], "\n".join(wrong)


def run(service: dict[str, Any], *command: str) -> str:
    """What Python prints when it runs this command; the command must succeed."""
    environment = {**os.environ, "BINNACLE_HOME": service["home"]}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_generates_with_a_vector_at_a_dose(service: dict[str, Any]) -> None:
    """The vector is named by a prefix of its id; the answers, unsteered and steered, stand under their prompt."""
    vector = next(service["client"].vectors(model="demo-severe", method="mean_diff"))["id"]
    asked = (
        "-m",
        "binnacle",
        "generate",
        "demo-severe",
        "describe a river .",
        "--vector",
        vector[:-1],
        "--dose",
        "0.5",
        "--max-new-tokens",
        "4",
    )
    said = run(service, *asked)
    prompt, unsteered, steered = said.splitlines()[:3]
    assert prompt == "describe a river ."
    assert unsteered.startswith("  unsteered: ")
    assert steered.startswith(f"  {vector}, dose 0.5, coefficient ")
    answers = json.loads(run(service, *asked, "--json"))
    assert [(one["vector"], one["dose"]) for one in answers] == [(None, None), (vector, 0.5)]
    assert prompt in run(service, "-m", "binnacle", "show", "last")


def test_the_python_code_of_the_client_readme_runs(service: dict[str, Any]) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    Path("readme.py").write_text(code)
    assert len(run(service, "readme.py").splitlines()) >= 2
