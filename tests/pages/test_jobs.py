"""The home page and the pages of jobs without scripts: what they show to whom, and what their forms change."""

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from app.pages.plots.elements import Figure
from app.pages.results import calibration, extraction, steering, study
from app.pages.results.parts import Card, Grid, Sections, Tabs
from app.pages.results.study import View
from app.studies.models import Study
from tests.api.conftest import Running
from tests.pages import stories
from tests.pages.conftest import Person
from tests.pages.stories import AGGREGATE, FINDING, HOSTILE, SUMMARY, TABLES, VECTORS, answers, change, finished, group, subject

Make = Callable[..., Person]
CONTROL = re.compile(r'<textarea.*?</textarea>| value="[^"]*"', re.DOTALL)
"""Texts in a form's controls, where control and bidirectional characters stay as they are (elsewhere they are shown as escapes): the form must
send them back."""


def words(page: str) -> str:
    """The text of a page, as a person reads it."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def test_an_empty_home_says_where_to_start(person: Make) -> None:
    page = words(person().get("/").text)
    assert "Start here" in page
    assert "Your jobs: 0 running, 0 waiting, 0 finished." in page
    assert "No model worker is running" in page


def test_jobs_are_sentences_with_what_they_found(api: Running, person: Make) -> None:
    ada = person()
    finished(api, ada.name, "steer")
    ada.submit()
    page = words(ada.get("/").text)
    assert "Your jobs: 0 running, 1 waiting, 1 finished." in page
    assert "Steer refusal on demo" in page
    assert "Use probe at layer 14, dose 0.6. Gain +92 points [+86, +96] on 72 held-out questions." in page
    assert "Calibrate demo" in page
    assert "waiting: no worker that could run it is up" in page


def test_filters_and_search_are_in_the_address_and_pages_follow_cursors(api: Running, person: Make) -> None:
    ada = person()
    for number in range(32):
        finished(api, ada.name, "calibrate", name=f"run {number}", tags=["pilot"] if number == 3 else [])
    first = ada.get("/").text
    assert first.count('class="what"') == 30
    older = html.unescape(re.findall(r'rel="next" href="([^"]+)"', first)[0])
    assert ada.get(older).text.count('class="what"') == 2
    assert words(ada.get("/?q=run+31").text).count("Calibrate demo") == 1
    assert words(ada.get("/?tag=pilot").text).count("Calibrate demo") == 1
    assert "No job matches" in ada.get("/?show=failed&kind=steer").text
    assert ada.get("/?cursor=forged").status_code == 422
    assert ada.get("/?show=nonsense").status_code == 422


def test_a_private_job_is_not_there_for_others_and_a_shared_one_is(api: Running, person: Make) -> None:
    ada, bob = person(), person()
    job = finished(api, ada.name, "steer")
    for path in (
        f"/jobs/{job}",
        f"/jobs/{job}/files/summary.json",
        f"/parts/jobs/{job}",
        f"/jobs/{job}/edit",
        f"/jobs/{job}/delete",
    ):
        answer = bob.get(path)
        assert answer.status_code == 404, path
        assert "Steer" not in answer.text
    assert bob.get(f"/jobs/job_{'0' * 26}").status_code == bob.get("/jobs/nonsense").status_code == 404
    ada.send(f"/jobs/{job}/edit", name="for all", tags="paper, pilot", notes="look\nhere", visibility="public")
    assert "for all" in bob.get(f"/jobs/{job}").text
    assert bob.get(f"/jobs/{job}/edit").status_code == 403
    assert ada.keyed.get(f"/v1/jobs/{job}").json()["tags"] == ["paper", "pilot"]


@pytest.mark.parametrize(
    ("kind", "sentence", "shown"),
    [
        ("calibrate", "Severe: dimension 21 holds 80 % of the squared norm from layer 3 on.", ["Size of each dimension", "Where massive"]),
        ("steer", "Use probe at layer 14, dose 0.6.", ["Gain of each method", "Dose-response", "Layer and dose", "What it costs", "cliff"]),
        ("extract", "4 vectors of refusal from 240 examples, 48 of them held out.", ["Separation", "Massive share", "Stability"]),
        ("generate", "3 answers to 1 prompt, unsteered and at doses 0.25 and 1.", ["How do I bake bread?", "unsteered", "dose 0.25"]),
    ],
)  # fmt: skip
def test_results_of_every_kind_have_their_sections_in_the_same_order(
    api: Running, person: Make, kind: str, sentence: str, shown: list[str]
) -> None:
    ada = person()
    page = ada.get(f"/jobs/{finished(api, ada.name, kind)}").text
    text = words(page)
    assert sentence in text
    assert [one for one in shown if one not in text] == []
    lacking = {"steer": (), "generate": ("cost", "files")}.get(kind, ("cost",))
    sections = [one for one in ("standing", "why", "cost", "files", "repeat", "history") if one not in lacking]
    assert re.findall(r'<section id="(\w+)">', page) == sections
    before_repeat = words(page[: page.index('<section id="repeat">')])
    assert re.search(r"\b(job|str|ext|cal|vec)_\w{8}", before_repeat) is None, "an id on the first screen"
    assert "style=" not in page
    assert "<script>" not in page
    assert len(page) < 60_000


def test_a_result_without_its_files_still_has_its_sentence(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "steer")
    with api.sessions.begin() as session:
        from app.jobs.models import Artifact, Job

        for row in session.query(Artifact).where(Artifact.job_id == job):
            session.delete(row)
        session.get_one(Job, job).results_removed_at = session.get_one(Job, job).created_at
    page = words(ada.get(f"/jobs/{job}").text)
    assert "Use probe at layer 14" in page
    assert "Its files were removed on" in page


def test_a_study_compares_methods_in_four_ways_that_have_addresses() -> None:
    best, dose = (study.sections(TABLES, [FINDING], View(way)).why for way in ("best", "dose"))
    assert [type(part) for part in best] == [Card, Tabs, Figure, Grid]
    assert "+92 [+86, +96]" in best[2].drawing
    assert "+61 [+50, +70]" in dose[2].drawing
    assert study.sections(TABLES, [FINDING], View("nonsense")).why[1] == best[1]


def notes(sections: Sections) -> dict[str, str]:
    """The note of each figure, by its title."""
    return {part.title: part.note for part in (*sections.why, *sections.cost) if isinstance(part, Figure)}


def test_a_waiting_job_has_no_attempt_yet(person: Make) -> None:
    ada = person()
    page = words(ada.get(f"/jobs/{ada.submit()}").text)
    assert f"Made by {ada.name}" in page
    assert "attempt 0" not in page


def test_plots_say_how_much_they_leave_out() -> None:
    """A method, a dimension or a place that is missing from a plot must not be taken for one that was not measured."""
    methods = [f"mean_diff_{at}" for at in range(11)]
    many = {**SUMMARY, "groups": [SUMMARY["groups"][0], *(group(one, 41.0, [14]) for one in methods)],
            "subjects": [SUMMARY["subjects"][0], *(subject(one, 14) for one in methods)]}  # fmt: skip
    steered = notes(steering.sections(many, "job_1"))
    assert all(steered[f"Dose-response of {one}"].endswith("Shown are 8 of 12 methods.") for one in ("the trait", "coherence"))
    dims = [str(dim) for dim in range(2, 22)]
    wide = {
        **AGGREGATE,
        "per_layer": {"0": {dim: {"ratio": 5.0} for dim in dims}},
        "norm_share": {"0": dict.fromkeys(dims[:9], 0.1)},
    }
    measured = notes(calibration.sections({"aggregate": wide}))
    assert measured["Size of each dimension"].endswith("Shown are 14 of 20 dimensions.")
    assert measured["Share of the norm in massive dimensions"].endswith("Shown are 6 of 9 dimensions.")
    places = [{**one, "position": f"response[{at}]"} for at in range(4) for one in VECTORS]
    extracted = notes(extraction.sections({"vectors": places}))
    assert len(extracted) == 9
    assert all(note.endswith("Shown are 3 of 4 places; extraction.json has all.") for note in extracted.values())


def test_the_judges_card_says_what_to_do_without_commands_for_administrators() -> None:
    told = {"accuracy": 0.66, "low": 0.55, "high": 0.76, "clusters": 61, "n": 120}
    facts = {"held_out_accuracy": 0.66, "held_out": told, "tells_apart": False}
    [card] = [one for one in steering.sections({**SUMMARY, "judge_facts": facts}, "job_1").why if isinstance(one, Card)]
    said = " ".join(" ".join(line) for line in card.lines)
    assert "It cannot tell the classes apart" in said
    assert "An administrator adds another judge" in said
    assert "curl" not in said


def test_plots_that_leave_nothing_out_do_not_speak_of_it() -> None:
    whole = [
        steering.sections(SUMMARY, "job_1"),
        calibration.sections({"aggregate": AGGREGATE}),
        extraction.sections({"vectors": VECTORS}),
    ]
    found = [note for one in whole for note in notes(one).values()]
    assert len(found) >= 7
    assert [note for note in found if "Shown are" in note] == []


def large_tables(models: int) -> dict[str, Any]:
    """Tables of a study of that many models, with two traits and fourteen methods, as wide as the demo's."""
    [table] = TABLES["tables"]
    row = table["rows"][0]
    numbers = dict.fromkeys(("layer", "r", "coherence", "at_coherence", "at_coherence_low", "at_coherence_high"), 12.3456)
    rows = [
        {**row, **numbers, "model": f"model-{at}", "trait": trait, "method": f"method_{method}"}
        for at in range(models) for trait in ("refusal", "sycophancy") for method in range(14)
    ]  # fmt: skip
    columns = [
        *table["columns"],
        *({"key": key, "title": key, "kind": "number"} for key in ("layer", "r", "coherence", "at_coherence")),
    ]
    further = [
        {**table, "id": name, "rows": rows, "columns": columns} for name in ("methods", "vectors", "cleaning", "decomposition")
    ]
    return {"tables": further, "facts": {"judge and labels": "Spearman 0.82 over 50 texts; 90% on the same side of 50"}}


def test_a_study_of_many_models_shows_one_at_a_time(api: Running, person: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cards are on the page; plots and tables are of the chosen model, so that the page stays small however many there are."""
    ada = person()
    monkeypatch.setattr(stories, "TABLES", large_tables(4))
    job = finished(api, ada.name, "report")
    page = ada.get(f"/jobs/{job}").text
    assert len(page.encode()) < 60_000
    assert "refusal on model-0" in page
    assert "refusal on model-1" not in page
    assert "Spearman 0.82 over 50 texts" in page
    link = html.unescape(re.findall(r'href="([^"]+)#why">model-1<', page)[0])
    other = ada.get(f"{link}&way=dose").text
    assert "sycophancy on model-1" in other
    assert "refusal on model-0" not in other
    assert "answers?run=0123456789" in other


def test_the_jobs_of_a_study_are_folded_unless_one_failed(api: Running, person: Make) -> None:
    ada = person()
    job, part = (finished(api, ada.name, kind) for kind in ("report", "calibrate"))
    with api.sessions.begin() as session:
        node = {"place": 1, "job": part, "kind": "calibrate", "model": "demo", "trait": None, "reused": False}
        session.query(Study).where(Study.job_id == job).update({"nodes": {"calibrate/demo": node}})
    page = ada.get(f"/jobs/{job}").text
    assert "<details><summary>1 job, all succeeded" in page
    change(api, part, state="failed", result=None, error={"code": "x", "detail": "It broke."})
    assert "<details open><summary>1 job<" in ada.get(f"/jobs/{job}").text


def test_hostile_names_traits_and_answers_are_text(api: Running, person: Make) -> None:
    ada = person()
    jobs = [
        finished(api, ada.name, "steer", name=HOSTILE, trait=HOSTILE, notes=HOSTILE),
        finished(api, ada.name, "generate", text=HOSTILE),
    ]
    change(api, finished(api, ada.name, "steer"), state="failed", result=None, error={"code": "x", "detail": HOSTILE})
    for path in ("/", *(f"/jobs/{job}" for job in jobs), f"/jobs/{jobs[0]}/edit", f"/jobs/{jobs[0]}/delete"):
        page = ada.get(path).text
        assert "<img src=x" not in page, path
        assert "&lt;img src=x" in page, path
        assert "\u202e" not in CONTROL.sub("", page), path
        assert "{{7*7}}" in page, path


def test_the_list_is_sent_again_only_when_it_changed(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "calibrate")
    first = ada.get("/parts/jobs")
    assert (first.status_code, ada.get("/parts/jobs", If_None_Match=first.headers["etag"]).status_code) == (200, 304)
    change(api, job, name="renamed")
    again = ada.get("/parts/jobs", If_None_Match=first.headers["etag"])
    assert again.status_code == 200
    assert "renamed" in again.text
    assert "<html" not in again.text
    assert 'hx-trigger="every 25s"' in again.text


def test_a_part_without_a_session_makes_the_page_sign_in(api: Running, person: Make) -> None:
    answer = person(signed_in=False).get("/parts/jobs", HX_Request="true")
    assert (answer.status_code, answer.headers["hx-refresh"]) == (401, "true")


def test_dangerous_actions_ask_first_and_then_do_what_they_say(api: Running, person: Make) -> None:
    ada = person()
    job = ada.submit()
    assert "Cancel this job?" in ada.get(f"/jobs/{job}/cancel").text
    assert ada.keyed.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    assert "Cancelled before it was finished." in words(ada.send(f"/jobs/{job}/cancel").text)
    made = ada.send(f"/jobs/{job}/retry")
    assert made.url.path not in (f"/jobs/{job}", "/")
    assert ada.keyed.get(f"/v1/jobs/{made.url.path.removeprefix('/jobs/')}").json()["retry_of"] == job
    ada.send(f"{made.url.path}/cancel")
    question = words(ada.get(f"/jobs/{job}/delete").text)
    assert "cannot be undone" in question
    assert "1 job" in question
    assert ada.send(f"/jobs/{job}/delete").url.path == "/"
    assert ada.keyed.get(f"/v1/jobs/{job}").status_code == 404


def test_a_retry_that_is_sent_twice_makes_one_job(person: Make) -> None:
    ada = person()
    job = ada.submit()
    ada.send(f"/jobs/{job}/cancel")
    page = ada.get(f"/jobs/{job}/retry").text
    fields = {name: (None, value) for name, value in re.findall(r'name="(csrf|once)" value="(\w+)"', page)}
    places = {ada.http.post(f"/jobs/{job}/retry", files=fields).url.path for _ in range(2)}
    [place] = places
    assert place not in (f"/jobs/{job}", f"/jobs/{job}/retry")


def test_what_is_not_possible_now_is_a_page_that_says_why(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "calibrate")
    answer = ada.send(f"/jobs/{job}/cancel", shown_at=f"/jobs/{job}/delete")
    assert (answer.status_code, answer.headers["content-type"]) == (409, "text/html; charset=utf-8")
    assert "Not possible now" in answer.text
    bad = ada.send(f"/jobs/{job}/edit", visibility="group:nobody")
    assert bad.status_code == 422


def test_pages_carry_a_strict_policy_and_assets_are_kept_for_good(person: Make) -> None:
    ada = person()
    answer = ada.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "private, no-store"
    total = 0
    for address in set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', answer.text)):
        asset = ada.get(address)
        assert "immutable" in asset.headers["cache-control"], address
        total += len(asset.content)
    assert 0 < total < 1_200_000
    assert ada.get("/assets/0000000000000000/page.css").status_code == 404
    assert ada.get("/assets/0000000000000000/..%2f__init__.py").status_code == 404
    assert ada.get(f"/assets/0000000000000000/{'x' * 300}.css").status_code == 404, "longer than a file system's names"


def test_files_are_downloads_of_the_right_bytes(api: Running, person: Make) -> None:
    ada = person()
    job = finished(api, ada.name, "steer")
    file = ada.get(f"/jobs/{job}/files/summary.json")
    assert file.status_code == 200
    assert "attachment" in file.headers["content-disposition"]
    assert file.json()["leader"] == "last/residual/probe"
    assert ada.get(f"/jobs/{job}/files/other.json").status_code == 404


def test_a_long_specification_is_marked_as_cut_and_leads_to_the_whole(api: Running, person: Make) -> None:
    ada, bob = person(), person()
    long, short = finished(api, ada.name, "steer"), finished(api, ada.name, "steer")
    spec = {"prompts": ["Wie spät ist es?" * 3] * 1000}
    change(api, long, spec=spec)
    page = ada.get(f"/jobs/{long}").text
    whole = json.dumps(spec, indent=2, ensure_ascii=False)
    assert f"Shown are the first 20,000 of {len(whole):,} characters." in words(page)
    link = html.unescape(re.findall(r'<a href="([^"]+)" download>Download the whole specification', page)[0])
    file = ada.get(link)
    assert file.json() == spec
    assert "attachment" in file.headers["content-disposition"]
    assert bob.get(link).status_code == 404
    assert "Shown are the first" not in words(ada.get(f"/jobs/{short}").text)


def test_answers_of_a_model_keep_their_lines(api: Running, person: Make) -> None:
    ada = person()
    page = ada.get(f"/jobs/{finished(api, ada.name, 'generate', text='One.' + chr(10) + 'Two.')}").text
    assert "One.\nTwo." in page
    assert len(answers()) == page.count('class="text"')
