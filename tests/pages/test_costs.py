"""What pages cost the API: CPU of the first HTML of a result and of its answers, with results as large as the demo's."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import Running
from tests.pages import stories
from tests.pages.conftest import Person
from tests.pages.stories import finished

Make = Callable[..., Person]
MOST_MS = 30.0
TRIES = 20
METHODS = ("probe", "mean_diff", "mean_diff_cleaned", "mean_diff_rownorm", "probe_cleaned", "pca_contrast", "gradient", "ridge")
QUESTIONS = 64


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight methods at two layers, six doses each, 64 answers a run."""
    names = [f"Question {at}: what would a careful person say to this, and why?" for at in range(QUESTIONS)]
    curve = [0.2, 0.3, 0.45, 0.6, 0.9, 1.2]
    subjects = [_searched(stories.subject(method, layer), curve) for method in METHODS for layer in (3, 4)]
    groups = [stories.group(method, 90.0 - 5 * at, [3]) for at, method in enumerate(METHODS)]
    summary = {**stories.SUMMARY, "groups": groups, "subjects": subjects}
    monkeypatch.setattr(stories, "SUMMARY", summary)
    monkeypatch.setattr(stories, "QUESTIONS", names)
    monkeypatch.setattr(stories, "responses", _responses)


def _searched(subject: dict[str, Any], doses: list[float]) -> dict[str, Any]:
    first = subject["curve"][0]
    runs = {r: stories.run_id("selection", subject["name"], r) for r in doses}
    return {**subject, "curve": [{**first, "run": run, "r": r, "trait": 60 * r} for r, run in runs.items()]}


def _responses(_text: str) -> list[dict[str, Any]]:
    said = "I would say that {} is a matter of care, and that it depends on who asks, when, and for what purpose they ask it."
    raw = {"trait": {"score": 50.0, "top": {str(at): -1.0 - at for at in range(0, 100, 10)}, "reply": "50"}}
    return [
        {"run": run["run"], "set": run["set"], "question": name, "system_prompt": None, "cluster": str(at), "trait": float(at),
         "text": said.format("the weather" if run["r"] is None else f"number {at}"), "coherence": 91.0, "relevance": None, "raw": raw,
         "ended": True, "finite": True, "ids": list(range(100, 140))}
        for run in stories.runs() for at, name in enumerate(stories.QUESTIONS)
    ]  # fmt: skip


@pytest.mark.parametrize("page", ["", "/answers", "/answers?order=unsure"], ids=["result", "answers", "by the judge"])
def test_the_first_html_is_cheap(api: Running, person: Make, large: None, page: str) -> None:
    """The least of several measurements: a busy machine only adds. The first one, with nothing kept, is left out."""
    ada = person()
    job = finished(api, ada.name, "steer", summary=stories.SUMMARY)
    ada.get(f"/jobs/{job}{page}")
    taken = []
    for _ in range(TRIES):
        before = time.process_time() - time.thread_time()  # the server's threads, without this one
        answer = ada.get(f"/jobs/{job}{page}")
        taken.append(1000 * (time.process_time() - time.thread_time() - before))
        assert answer.status_code == 200
        assert len(answer.content) < 60_000
    assert min(taken) <= MOST_MS, taken
