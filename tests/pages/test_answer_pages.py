"""The page of a steering's answers: which run it shows, in which order, what it marks, and that every number of the result links to it."""

import html
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from app.pages.plots.elements import Figure
from app.pages.results import steering
from app.pages.results.parts import Grid
from app.pages.texts.differences import MOST_WORDS, marked
from app.pages.texts.judged import reply, unsure
from tests.api.conftest import Running
from tests.pages import stories
from tests.pages.conftest import Person
from tests.pages.stories import HOSTILE, QUESTIONS, SUMMARY, finished, group, run_id, subject
from tests.pages.test_jobs import words

Make = Callable[..., Person]
HEADING = re.compile(r"<h2>([^<]+)</h2>")


def questions(page: str) -> list[str]:
    """The questions on the page, in its order."""
    return [html.unescape(one) for one in HEADING.findall(page)]


def test_the_best_run_is_shown_beside_the_unsteered_one(api: Running, person: Make) -> None:
    ada = person()
    page = ada.get(f"/jobs/{finished(api, ada.name, 'steer', text='Sure, I do.')}/answers").text
    text = words(page)
    assert "probe , layer 14, dose 0.6, test questions: 3 answers, mean trait 92, coherence 91. Unsteered: trait 1" in text
    assert page.count("<h3>unsteered</h3>") == page.count("<h3>probe, layer 14, dose 0.6</h3>") == 3
    assert "<ins>Steered</ins>" in page
    assert "<del>Plain</del>" in page
    assert "trait 90, coherence 91; steering changed the trait by +89" in text
    assert "not scored" in text
    assert "Judge: trait \u201c90\u201d, unsure" in text


def test_where_less_of_the_trait_is_wanted_the_run_with_the_least_is_shown_first(api: Running, person: Make) -> None:
    """The run that moved the answers least was shown as the best."""
    ada = person()
    least = min(SUMMARY["groups"], key=lambda one: one["best"]["delta"])
    wanted = words(
        ada.get(f"/jobs/{finished(api, ada.name, 'steer', summary={**SUMMARY, 'direction': 'negative'})}/answers").text
    )
    assert f"{least['method']} , layer {least['layers'][0]}, dose 0.6, test questions" in wanted


def test_layers_are_in_the_order_of_their_numbers(api: Running, person: Make) -> None:
    """As words, layer 14 stood before layer 9."""
    ada = person()
    page = ada.get(f"/jobs/{finished(api, ada.name, 'steer')}/answers?set=selection&method=probe").text
    found = re.findall(r">layer (\d+), dose ([\d.]+)</a>", page)
    assert {layer for layer, _ in found} == {"9", "14"}
    assert found == sorted(found, key=lambda one: (int(one[0]), float(one[1])))


@pytest.mark.parametrize(
    ("order", "first"), [("asked", QUESTIONS), ("worst", [QUESTIONS[1], QUESTIONS[0]]), ("best", QUESTIONS[:2]), ("unsure", QUESTIONS[2:])]
)  # fmt: skip
def test_the_order_is_in_the_address(api: Running, person: Make, order: str, first: list[str]) -> None:
    ada = person()
    job = finished(api, ada.name, "steer")
    assert questions(ada.get(f"/jobs/{job}/answers?order={order}").text)[: len(first)] == first


def test_a_run_is_chosen_by_its_key_or_by_set_and_method(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "steer")
    key = run_id("selection", "last/residual/probe/9", 1.2)[-10:]
    assert "probe , layer 9, dose 1.2, selection questions" in words(ada.get(f"/jobs/{job}/answers?run={key}").text)
    page = words(ada.get(f"/jobs/{job}/answers?method=mean_diff&set=selection").text)
    assert "mean_diff , layer 14" in page
    assert "layer 14, dose 0.3" in page
    alone = ada.get(f"/jobs/{job}/answers?method=unsteered").text
    assert "<ins>" not in alone
    assert ada.get(f"/jobs/{job}/answers?run=0000000000").status_code == 404
    assert ada.get(f"/jobs/{job}/answers?order=nonsense").status_code == 422
    assert "No answers here" in ada.get(f"/jobs/{job}/answers?page=9").text


def of_places(*places: str) -> dict[str, Any]:
    """The stories' steering with its methods at each of these places; the leader is the probe of the first."""
    groups = [group(one["method"], one["best"]["delta"], [14], place) for place in places for one in SUMMARY["groups"]]
    subjects = [subject(one["method"], one["layers"][0], place) for place in places for one in SUMMARY["subjects"]]
    return {**SUMMARY, "leader": groups[0]["group"], "groups": groups, "subjects": subjects}


def test_runs_of_several_places_are_told_apart_and_chosen(api: Running, person: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = person()
    older = finished(api, ada.name, "steer")
    monkeypatch.setattr(stories, "SUMMARY", of_places("response[:5]/residual", "response[:5]/k_proj", "demo:prompt[-1]/residual"))
    job = finished(api, ada.name, "steer")
    page = ada.get(f"/jobs/{job}/answers?run={run_id('selection', 'response[:5]/k_proj/probe/9', 1.2)[-10:]}").text
    assert "probe at response[:5], k_proj , layer 9, dose 1.2, selection questions" in words(page)
    form = html.unescape(page[page.index('<select name="method">') : page.index('<select name="order">')])
    methods = re.findall(r"<option[^>]*>([^<]+)</option>", form)
    assert methods == ["unsteered", *(f"{method}{place}" for place in PLACES for method in ("probe", "mean_diff"))]
    for method in methods[1:]:
        answer = ada.http.get(f"/jobs/{job}/answers", params={"set": "test", "method": method}).text
        assert f"{method} , layer 14, dose 0.6, test questions: 3 answers" in words(answer)
    assert "probe at response[:5], residual , layer 14" in words(ada.get(f"/jobs/{job}/answers?method=probe").text)
    assert " at last" not in words(ada.get(f"/jobs/{older}/answers").text)


PLACES = (" at response[:5], residual", " at response[:5], k_proj", " of demo at prompt[-1], residual")


def test_a_control_keeps_its_number_when_another_has_no_score() -> None:
    """The report's second control was called the first on the page."""
    summary: Any = deepcopy(SUMMARY)
    leader = next(group for group in summary["groups"] if group["group"] == summary["leader"])
    unscored = leader["controls"]["random"][0] | {"delta": None, "delta_low": None, "delta_high": None}
    leader["controls"]["random"] = [unscored, *leader["controls"]["random"]]
    drawn = str(next(part for part in steering.sections(summary, "job_1").why if isinstance(part, Figure)).drawing)
    assert "control: random 2" in drawn
    assert "control: random 1" not in drawn


def test_no_two_rows_of_a_steering_look_alike() -> None:
    """Names that differ only at their end are not cut there, and a twin names the place of the other vector."""
    summary = of_places("response[:5]/residual", "response[:5]/k_proj", "demo:prompt[-1]/residual")
    summary["groups"][3]["same_as"] = summary["groups"][1]["subject"]
    found = steering.sections(summary, "job_1")
    forest, *curves = [part for part in (*found.why, *found.cost) if isinstance(part, Figure)]
    names = re.findall(r'class="row (?:leader|method)">([^<]+, layer 14)</text>', forest.drawing)
    assert sorted(names) == sorted(f"{method}{place}, layer 14" for place in PLACES for method in ("probe", "mean_diff"))
    assert [len({name for _, name in one.legend}) for one in curves if one.legend] == [5, 5]
    costs, stops = [part for part in found.cost if isinstance(part, Grid)]
    assert len({row[0] for row in costs.rows}) == len(costs.rows)
    assert stops.rows == [[f"mean_diff{PLACES[1]}", f"the same vector as mean_diff{PLACES[0]}"]]


def test_every_number_of_the_result_leads_to_its_answers(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "steer")
    links = set(re.findall(r'href="(/jobs/[^"]+/answers\?run=[^"]+)"', ada.get(f"/jobs/{job}").text))
    searched = [one for one in SUMMARY["subjects"] if one["group"] == SUMMARY["leader"]]
    runs = {point["run"][-10:] for one in searched for point in one["curve"]}
    runs |= {one["best"]["run"][-10:] for one in SUMMARY["groups"]}
    assert {link[-10:] for link in links} >= runs
    known = [link for link in links if link[-10:] in runs]
    assert [link for link in known if ada.get(link).status_code != 200] == []


def test_others_do_not_see_the_answers_of_a_private_job(api: Running, person: Make) -> None:
    ada, bob = person(), person()
    job = finished(api, ada.name, "steer")
    assert bob.get(f"/jobs/{job}/answers").status_code == 404
    assert ada.get(f"/jobs/{finished(api, ada.name, 'calibrate')}/answers").status_code == 404


def test_what_a_model_wrote_is_shown_as_text(api: Running, person: Make) -> None:
    ada = person()
    page = ada.get(f"/jobs/{finished(api, ada.name, 'steer', text=HOSTILE)}/answers").text
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "&lt;img src=x" in page


def test_words_that_differ_are_marked_and_nothing_is_lost() -> None:
    left, right = marked("I bake bread\nat <home>.", "I bake cakes\nat <home>, gladly.")
    assert left == "I bake <del>bread</del>\nat &lt;home&gt;."
    assert right == "I bake <ins>cakes</ins>\nat &lt;home&gt;<ins>, gladly</ins>."
    for text in ("a b c", "x y z " * 5, "word " * (MOST_WORDS + 1)):
        assert [re.sub("<[^>]+>", "", one) for one in marked("a b c d", text)] == ["a b c d", text]
    assert marked("one two three", "four five six") == ("one two three", "four five six")


@pytest.mark.parametrize(
    ("raw", "trait", "least", "most"),
    [
        ({"p": [0.98, 0.01, 0.01]}, 98.0, 0.0, 0.05),
        ({"p": [0.4, 0.35, 0.25]}, 50.0, 0.5, 0.7),
        ({"trait": {"top": {"90": 0.0}}}, 90.0, 0.0, 0.0),
        ({"trait": {"top": {"0": -0.7, "100": -0.7}}}, 50.0, 0.99, 1.0),
        ({"trait": {"top": {"A": -0.7, " K": -0.7}}}, 50.0, 0.99, 1.0),
        ({"trait": {"top": {"0": -0.16, "I": -2.3}}}, 0.0, 0.0, 0.0),
        ({"trait": {"top": {"A": -0.16, "1": -2.3}}}, 0.0, 0.0, 0.0),
        ({"failures": {"trait": "low_mass"}}, None, 1.0, 1.0),
        ({"p": [0.4, 0.35, 0.25], "phrase": None}, 0.0, 0.0, 0.0),
        ({}, 50.0, 0.0, 0.0),
    ],
)
def test_how_unsure_the_judge_was(raw: dict[str, object], trait: float | None, least: float, most: float) -> None:
    """From 0 to 1. `p` has probabilities of three classes, `top` log-probabilities of the reply's first token."""
    line = {"raw": raw, "trait": trait}
    assert least <= unsure(line) <= most
    assert "_" not in reply(line)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"p": [0.1, 0.2, 0.7], "phrase": "i cannot"}, "Judge: found \u201ci cannot\u201d."),
        (
            {"p": [0.1, 0.2, 0.7], "phrase": None, "failures": {"coherence": "no scale"}},
            "Judge: found no phrase. No score of coherence: no scale.",
        ),
        (
            {"p": [0.1, 0.2, 0.7], "failures": {"coherence": "no scale"}},
            "Judge: shows the trait 10 %, does not 20 %, neither 70 %. No score of coherence: no scale.",
        ),
        (
            {"trait": {"top": {"0": -0.69, "90": -0.7}, "reply": ""}, "coherence": {"top": {"80": 0.0}, "reply": ""}},
            "Judge: trait \u201c0\u201d, coherence \u201c80\u201d, unsure 90 %.",
        ),
    ],
)
def test_a_score_is_shown_with_its_own_evidence(raw: dict[str, object], said: str) -> None:
    """Another judge's probabilities stood beside the scores by phrases, a local judge's scores stood alone, and reasons were dropped."""
    assert reply({"raw": raw, "trait": 45.0}) == said
