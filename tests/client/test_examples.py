"""Every public method of the client has an example in its docstring, and the examples run against a live service with real workers."""

import doctest
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import binnacle
from binnacle.parts.administration import Administration
from shipped import MODELS
from tests.embedded.running import Up
from tests.services import make_folder

FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def methods() -> dict[str, Any]:
    """Every public function that `client.` and `client.admin.` offer, by its name."""
    found = {"Client": binnacle.Client}
    for owner, prefix in ((binnacle.Client, "client"), (Administration, "client.admin")):
        functions = inspect.getmembers(owner, inspect.isfunction)
        found |= {f"{prefix}.{name}": one for name, one in functions if not name.startswith("_")}
    return found


METHODS = methods()


@pytest.fixture(scope="module")
def service() -> Iterator[dict[str, Any]]:
    """The names that examples use, on a service that has a model, vectors, a steering and a study."""
    home, here = make_folder(), Path.cwd()
    up = Up(home, None, "--port", "0", "--device", "cpu", "--cpu-workers", "2")
    try:
        up.start()
        with binnacle.Client(up.url, up.key) as client:
            client.add_model("demo-severe", str(MODELS / "demo-severe"))
            client.await_model("demo-severe")
            client.wait(client.calibrate("demo-severe", max_new_tokens=4), timeout=200)
            client.wait(client.extract("demo-severe", "refusal", methods=["mean_diff"], layers=[3], resamples=0), timeout=200)
            small = {
                "methods": ["mean_diff"],
                "layers": [3],
                "budget": 2,
                "max_new_tokens": 4,
                "selection_limit": 12,
                "test_limit": 12,
            }
            few = {"resamples": 0, "controls": {"random": 0, "shuffled": 0, "prompt_only": False}}
            client.wait(client.steer("demo-severe", "refusal", **small), timeout=200)
            client.wait(client.study(["demo-severe"], ["refusal"], calibration_new_tokens=4, **small, **few), timeout=200)
            (home / "work").mkdir()
            os.chdir(home / "work")
            yield {"binnacle": binnacle, "client": client, "key": up.key}
    finally:
        os.chdir(here)
        up.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_every_public_method_has_an_example() -> None:
    assert [name for name, one in METHODS.items() if ">>> " not in (one.__doc__ or "")] == []
    assert len(METHODS) > 60


@pytest.mark.timeout(500)
def test_the_examples_are_true(service: dict[str, Any]) -> None:
    """Each example runs by itself, with the names `binnacle`, `client` (an administrator's) and `key` alone."""
    wrong: list[str] = []
    for name, method in METHODS.items():
        example = doctest.DocTestParser().get_doctest(inspect.getdoc(method) or "", dict(service), name, name, 0)
        said: list[str] = []
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=said.append, clear_globs=False).failed
        wrong += ["".join(said)] if failed else []
    assert wrong == [], "\n".join(wrong)
