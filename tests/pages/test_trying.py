"""The page Try: each try is a generation job with vectors at doses; its answers stand in columns, with the vector's known cliff."""

import ast
import html
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest

from app.extractions.models import Extraction
from app.pages.repeats import requests
from app.pages.trying.cliffs import Cliff, cliffs_in
from app.pages.trying.columns import Push, columns
from app.pages.trying.routes import Tried
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.pages.conftest import Person, form
from tests.pages.stories import HOSTILE, SUMMARY, change, finished
from tests.pages.test_jobs import words

Make = Callable[..., Person]


def vector(api: Running, ada: Person, method: str = "probe") -> str:
    """A vector of ada's on demo."""
    store_extraction(api.sessions, api.context.storage, ada.name, "b" * 64)
    return str(ada.keyed.get("/v1/vectors", params={"method": method}).json()["items"][0]["id"])


def attempt(ada: Person, **fields: Any) -> Any:
    """Sends the page's form with these fields."""
    hidden = dict(re.findall(r'name="(csrf|once)" value="(\w+)"', ada.get("/try").text))
    parts = [
        (name, (None, one))
        for name, given in {**hidden, **fields}.items()
        for one in ([given] if isinstance(given, str) else given)
    ]
    return ada.http.post("/try", files=parts)


def test_each_try_is_a_generation_job_whose_address_can_be_pasted(api: Running, person: Make) -> None:
    ada = person()
    own = vector(api, ada)
    assert own in ada.get("/try?model=demo").text
    page = attempt(
        ada,
        model="demo",
        prompt="Say hi.",
        system_prompt="",
        max_new_tokens="8",
        v=[own, "", "", ""],
        d=["0.75", "0.5", "0.5", "0.5"],
    )
    assert page.url.path == "/try", words(page.text)
    assert page.url.fragment == "tried", "the answers are below the first screen"
    job = ada.keyed.get(f"/v1/jobs/{page.url.params['job']}").json()
    assert (job["kind"], job["owner"]) == ("generate", ada.name)
    assert job["spec"]["doses"] == [0.75]
    assert [one["id"] for one in job["spec"]["vectors"]] == [own]
    assert 'hx-get="/parts/tried?' in page.text
    assert "Say hi." in page.text
    shown = html.unescape(page.text)
    assert '"doses": [\n  0.75\n ]' in shown
    answers = [{"prompt": "Say hi.", "system_prompt": None, "vector": who, "r": r, "c": r, "text": said, "ended": True, "finite": True}
               for who, r, said in ((None, None, "Hello there, friend."), (own, 0.75, HOSTILE + " friend."))]  # fmt: skip
    change(api, job["id"], state="succeeded", result={"answers": answers})
    done = ada.get(f"/try?{page.url.query.decode()}").text
    assert "refusal: probe" in words(done)
    assert "<details open><summary>Copy as request" in done
    assert "<img src=x" not in done
    assert 'hx-get="/parts/tried?' not in done
    assert done.count('<p class="text">') == 2
    bob = person()
    assert bob.get(f"/try?{page.url.query.decode()}").status_code == 404


def test_what_is_wrong_is_said_and_the_form_stays_filled(api: Running, person: Make) -> None:
    ada = person()
    for fields, sentence in (
        ({"model": "", "prompt": "Hi"}, "The text must not be empty."),
        ({"model": "demo", "prompt": "  "}, "white space"),
        ({"model": "demo", "prompt": "Hi", "d": ["much"], "v": [""]}, "A dose is a number"),
        ({"model": "demo", "prompt": "Hi" * 20_000}, "A prompt is at most 20,000 characters long"),
        ({"model": "demo", "prompt": "Hi", "max_new_tokens": "9999"}, "1 to 256 tokens"),
    ):
        answer = attempt(ada, **fields)
        assert answer.status_code == 422
        assert sentence in words(answer.text)
    assert ada.keyed.get("/v1/jobs").json()["items"] == []
    job = finished(api, ada.name, "calibrate")
    assert ada.get(f"/try?job={job}").status_code == 404
    assert person("viewer").get("/try").status_code == 403


def test_the_cliff_is_the_first_dose_with_too_little_coherence() -> None:
    subjects = [{**one, "ids": [f"vec_{at}"], "keys": ["k"], "best_r": 0.6} for at, one in enumerate(SUMMARY["subjects"])]
    subjects.append({**subjects[0], "ids": ["vec_a", "vec_b"], "keys": ["a", "b"]})
    subjects.append({**subjects[0], "ids": [None], "keys": ["last/residual/probe/2"]})
    found = cliffs_in({**SUMMARY, "subjects": subjects})
    assert found["vec_0"] == Cliff(0.6, 1.2)
    assert "vec_a" not in found
    assert cliffs_in({**SUMMARY, "subjects": SUMMARY["subjects"]}) == {}, "a summary that names no vector"
    assert found["last/residual/probe/2"] == Cliff(0.6, 1.2)
    both = [{"r": r, "coherence": coherence} for r, coherence in ((-2, 20), (-1, 90), (0.5, 90), (1, 40))]
    signed = [{"ids": ["vec_c"], "curve": both}, {"ids": ["vec_d"], "curve": both[:2]}]
    assert cliffs_in({"coherence_threshold": 50.0, "subjects": signed}) == {"vec_c": Cliff(None, 1)}
    assert cliffs_in({"coherence_threshold": 0.0, "subjects": subjects[:1]})["vec_0"].at is None
    assert cliffs_in({**SUMMARY, "subjects": subjects, "direction": "negative"}) == {}, "pushed against the vector"
    assert cliffs_in({**SUMMARY, "subjects": subjects, "operation": "norm_match"}) == {}, "doses are multiples of the norm"
    against = {**subjects[0]["curve"][0], "r": -2.0, "coherence": 0.0}  # a raw coefficient against the requested direction
    assert cliffs_in({**SUMMARY, "subjects": [{**subjects[0], "curve": [against, *subjects[0]["curve"]]}]})["vec_0"].at == 1.2


def test_the_cliff_is_told_where_a_steering_took_the_vector_from_its_extraction(api: Running, person: Make) -> None:
    """Steerings of an extraction name their vectors by key, not by id."""
    ada = person()
    own = vector(api, ada)
    one = ada.keyed.get(f"/v1/vectors/{own}").json()
    subjects = [{**SUMMARY["subjects"][0], "ids": [None], "keys": [one["key"]], "best_r": 0.6}]
    summary = {**SUMMARY, "subjects": subjects}
    with api.sessions() as session:
        made_by = session.get_one(Extraction, one["extraction"]).job_id
    finished(api, ada.name, "steer", summary=summary, sources=[{"job": made_by}])
    assert "Cliff at dose 1.2" in words(ada.get(f"/try?model=demo&v={own}").text)
    assert "its cliff is not known" in words(ada.get(f"/try?model=demo&v={vector(api, ada, 'mean_diff')}").text)


def test_columns_are_the_pushes_that_were_asked_for() -> None:
    answers = [{"vector": None, "text": "One two three."}] + [
        {"vector": who, "r": r, "text": f"One two {who}.", "finite": r < 1} for who in ("a", "b") for r in (0.25, 1.0)
    ]
    found = columns(answers, [Push("b", 1.0), Push("a", 0.25), Push("c", 1.0)])
    assert [one.push for one in found] == [None, 0, 1]
    assert found[1].text == "One two <ins>b</ins>."
    assert found[1].note == "broke down: the push was too strong"
    assert found[0].text == "One two three."
    assert "<del>three</del>" in columns(answers, [Push("a", 0.25)])[0].text
    assert columns([], [Push("a", 1.0)]) == []


def test_the_address_of_a_try_finds_its_answers_at_any_dose() -> None:
    own, dose = f"vec_{'0' * 26}", 0.1234567
    query = dict(parse_qsl(Tried(model="demo", prompt="Hi", v=[own], d=[dose]).query("job")))
    pushes = Tried.model_validate({"v": [query["v"]], "d": [query["d"]]}).pushes
    assert len(columns([{"vector": None, "text": "a"}, {"vector": own, "r": dose, "text": "b"}], pushes)) == 2


@pytest.mark.parametrize("path", ["/try?v=nonsense", "/try?d=0&v=", "/try?max_new_tokens=x"])
def test_an_address_with_invalid_values_is_refused(person: Make, path: str) -> None:
    refused = person().get(path)
    assert refused.status_code == 422
    assert f"cannot be used: {path[5:].partition('=')[0]}." in words(refused.text)


def test_a_request_is_the_same_by_curl_and_by_python() -> None:
    """Whatever a prompt holds: no line of it ends the shell's document, and Python reads the same request."""
    body = {
        "model": "demo",
        "prompts": [{"prompt": "One.\nREQUEST\n'quoted' \"twice\" $HOME `id` " + HOSTILE * 20}],
        "further": None,
    }
    found = requests("generate", "/v1/generations", body, "http://here")
    [given] = re.findall(r"<<'REQUEST'\n(.*)\nREQUEST$", found["curl"], re.DOTALL)
    assert json.loads(given) == body
    assert found["curl"].split("\n").count("REQUEST") == 1
    [spec] = re.findall(r"spec = (.*)\nwith Client", found["Python"], re.DOTALL)
    assert ast.literal_eval(spec) == body
    compile(found["Python"], "drawer", "exec")


def test_a_request_on_the_page_can_be_copied_whatever_the_prompt_holds(person: Make) -> None:
    """The page shows control characters as escapes, which must be escapes of JSON."""
    prompt = "\u05e9\u200f \x85 \u2028 \\x85"
    page = html.unescape(attempt(person(), model="demo", prompt=prompt, max_new_tokens="8").text)
    [given] = re.findall(r"<<'REQUEST'\n(.*?)\nREQUEST", page, re.DOTALL)
    assert json.loads(given)["prompts"] == [{"prompt": prompt}]


def test_the_form_can_only_be_sent_from_our_own_page(person: Make) -> None:
    assert person().http.post("/try", files=form(model="demo", prompt="Hi")).status_code == 403
