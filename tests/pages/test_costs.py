"""What pages cost the API: CPU of the first HTML of a result and of its answers, with results as large as the demo's."""

import html
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.pages import home
from app.pages.jobs import WAIT_SECONDS
from tests.api.conftest import Running
from tests.pages import stories
from tests.pages.conftest import Person
from tests.pages.stories import finished
from tests.yardstick import slowness

Make = Callable[..., Person]
MOST_MS = 30.0
"""Milliseconds of the server's CPU that one page may take, on the machine of tests/yardstick.py."""
TRIES = 20
METHODS = ("probe", "mean_diff", "mean_diff_cleaned", "mean_diff_rownorm", "probe_cleaned", "pca_contrast", "gradient", "ridge")
QUESTIONS = 64
OPEN = 20
"""Pages that are open at once."""
TIMERS = re.compile(r'hx-trigger="every (\d+)s"')


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
    assert min(taken) <= MOST_MS * slowness(), taken


def test_twenty_open_lists_cost_less_than_a_twentieth_of_a_core(api: Running, person: Make) -> None:
    """From the cost of one request for a list of thirty unfinished jobs, which an open page sends every BUSY seconds."""
    ada = person()
    for number in range(home.PER_PAGE):
        ada.submit(name=f"open {number}")
    page = ada.get("/parts/jobs")
    assert f'hx-trigger="every {home.BUSY}s"' in page.text
    taken = []
    for _ in range(TRIES):
        before = time.process_time() - time.thread_time()
        answer = ada.get("/parts/jobs", If_None_Match=page.headers["etag"])
        taken.append(time.process_time() - time.thread_time() - before)
        assert answer.status_code == 304
    assert OPEN * min(taken) / home.BUSY < 0.05 * slowness(), taken


def test_twenty_open_pages_of_a_running_job_cost_less_than_a_twentieth_of_a_core(api: Running, person: Make) -> None:
    """Each holds one request open, and sends the next a second after its answer."""
    ada = person()
    job = ada.submit()
    shown = html.unescape(ada.get(f"/jobs/{job}").text)
    headers = {"If-None-Match": json.loads(re.findall(r"hx-headers='([^']+)'", shown)[0])["If-None-Match"]}

    def ask() -> int:
        return ada.http.get(f"/parts/jobs/{job}", headers=headers, timeout=120).status_code

    with ThreadPoolExecutor(OPEN) as pool:
        began, before = time.monotonic(), time.process_time()
        answers = [asked.result() for asked in [pool.submit(ask) for _ in range(OPEN)]]
        seconds = time.monotonic() - began
    assert answers == [304] * OPEN
    assert seconds > WAIT_SECONDS - 1, "the requests were held"
    assert (time.process_time() - before) / (seconds + 1) < 0.05 * slowness()


def test_an_idle_page_asks_at_most_once_in_25_seconds(api: Running, person: Make) -> None:
    """Pages of finished jobs and of vectors do not ask at all."""
    ada, root = person(), person("admin")
    done = finished(api, ada.name, "steer")
    found = {
        path: TIMERS.findall(who.get(path).text)
        for who, path in ((ada, "/"), (root, "/fleet"), (ada, f"/jobs/{done}"), (ada, "/vectors"))
    }
    assert found[f"/jobs/{done}"] == found["/vectors"] == []
    assert [len(one) for path, one in found.items() if path in ("/", "/fleet")] == [1, 1]
    assert all(int(seconds) >= home.IDLE == 25 for one in found.values() for seconds in one), found
