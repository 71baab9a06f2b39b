"""The forms for new jobs: what they offer, the price they show, where errors stand, and that a form becomes the job it describes."""

import html
import re
from collections.abc import Callable

import pytest

from app.pages.forms.again import request_again
from app.pages.forms.fields import texts_of
from app.pages.forms.kinds import FORMS
from tests.api.conftest import Running
from tests.api.extracted import store_extraction
from tests.api.lives import claim, succeed
from tests.pages.conftest import Person
from tests.pages.stories import HOSTILE
from tests.pages.test_jobs import words

Make = Callable[..., Person]
TRAIT = {
    "name": "politeness", "positive": ["Thank a colleague.", "Ask kindly."], "negative": ["Give an order.", "Demand it."],
    "steering": {"questions": ["How do I ask for a day off?", "What do I write?"]},
}  # fmt: skip


def at_field(page: str, name: str) -> str:
    """The error that the page shows at a field."""
    return html.unescape(re.findall(rf'<p class="wrong" id="e-{name}"[^>]*>([^<]*)</p>', page)[0])


def sent_job(ada: Person, kind: str, **fields: str) -> dict[str, object]:
    """The job that the form made, as the API shows it."""
    answer = ada.send(f"/new/{kind}", **fields)
    assert answer.url.path.startswith("/jobs/"), words(answer.text)
    return dict(ada.keyed.get(f"/v1{answer.url.path}").json())


def test_every_kind_has_a_form_with_the_models_that_there_are(person: Make) -> None:
    ada = person()
    listed = ada.get("/new").text
    for kind, form in FORMS.items():
        assert f'href="/new/{kind}"' in listed
        page = ada.get(f"/new/{kind}").text
        assert form.title in page
        assert 'value="demo"' in page
    assert ada.get("/new/nonsense").status_code == 404


def test_check_says_the_price_with_its_arithmetic_and_makes_nothing(person: Make) -> None:
    ada = person()
    page = words(ada.send("/new/calibrate", model="demo", max_new_tokens="32", do="check").text)
    assert "50 prompts x 32 new tokens = 1,600 generated tokens." in page
    assert "The time is not known yet: too few jobs of this kind and size have run on this model." in page
    assert ada.keyed.get("/v1/jobs").json()["items"] == []
    empty = words(ada.send("/new/calibrate", do="check").text)
    assert "Still to fill in: Model." in empty


def test_what_a_result_would_lack_is_said_before_submit_and_on_the_jobs_page(person: Make) -> None:
    ada = person()
    asked = {"model": "demo", "trait": "refusal", "test_limit": "5"}
    lacks = '"Held-out questions, at most" is 5: at most 5 test clusters; a verdict needs 20'
    assert lacks in words(ada.send("/new/steer", do="check", **asked).text)
    job = sent_job(ada, "steer", **asked)
    assert lacks in words(ada.get(f"/jobs/{job['id']}").text)


def test_a_form_becomes_the_job_that_it_describes(person: Make) -> None:
    ada = person()
    job = sent_job(
        ada, "calibrate", model="demo", prompts="One.\r\nTwo.", layers="0, 2-4", max_new_tokens="16", name="pilot", tags="a, b",
        further='{"notes": "by hand"}',
    )  # fmt: skip
    assert (job["name"], job["tags"], job["notes"], job["owner"]) == ("pilot", ["a", "b"], "by hand", ada.name)
    spec = job["spec"]
    assert isinstance(spec, dict)
    assert (spec["prompts"], spec["layers"], spec["max_new_tokens"]) == (["One.", "Two."], [0, 2, 3, 4], 16)


def test_a_form_that_is_sent_twice_makes_one_job(person: Make) -> None:
    ada = person()
    page = ada.get("/new/calibrate").text
    fields = {name: (None, value) for name, value in re.findall(r'name="(csrf|once)" value="(\w+)"', page)}
    fields["model"] = (None, "demo")
    places = {ada.http.post("/new/calibrate", files=fields).url.path for _ in range(2)}
    assert len(places) == 1
    assert len(ada.keyed.get("/v1/jobs").json()["items"]) == 1


@pytest.mark.parametrize(
    ("kind", "fields", "field", "sentence"),
    [
        (
            "calibrate",
            {"model": "demo", "layers": "2, 90"},
            "layers",
            '"Layers" (value 2) names layer 90; demo has 8 layers, 0 to 7',
        ),
        ("calibrate", {"model": "demo", "max_new_tokens": "many"}, "max_new_tokens", "must be a whole number"),
        ("calibrate", {"model": "demo", "rule": "nonsense"}, "rule", "one of the rules for massive dims"),
        ("calibrate", {"model": "demo", "further": "{"}, "further", "This is not valid JSON"),
        ("calibrate", {"model": "gone"}, "model", "No model is called 'gone'"),
        ("extract", {"model": "demo", "trait": "gone"}, "trait", "gone"),
        ("generate", {"model": "demo", "prompts": "Hi", "doses": "0.5, -1"}, "doses", "greater than 0"),
    ],
)
def test_an_error_stands_at_its_field_and_the_form_stays_filled(
    person: Make, kind: str, fields: dict[str, str], field: str, sentence: str
) -> None:
    ada = person()
    answer = ada.send(f"/new/{kind}", **fields)
    assert answer.status_code == 422
    assert sentence in at_field(answer.text, field)
    assert ('value="demo" selected' in answer.text) == (fields["model"] == "demo")
    part = ada.http.post(
        f"/parts/new/{kind}", files={name: (None, value) for name, value in {**hidden(ada, kind), **fields}.items()}
    )
    assert sentence in at_field(part.text, field)
    assert "<html" not in part.text


@pytest.mark.parametrize("prompts", ['"Hello"', "null", "5", '{"a": 1}'])
def test_prompts_in_the_json_that_are_not_a_list_are_refused_as_the_api_does(person: Make, prompts: str) -> None:
    ada = person()
    answer = ada.send("/new/generate", model="demo", system_prompt="Be kind.", further=f'{{"prompts": {prompts}}}')
    assert (answer.status_code, answer.url.path) == (422, "/new/generate")
    assert "list" in at_field(answer.text, "prompts")
    assert ada.keyed.get("/v1/jobs").json()["items"] == []


def hidden(ada: Person, kind: str) -> dict[str, str]:
    """The hidden fields of the form."""
    return dict(re.findall(r'name="(csrf|once)" value="(\w+)"', ada.get(f"/new/{kind}").text))


def test_again_with_changes_fills_the_form_with_what_the_job_was_asked(api: Running, person: Make) -> None:
    ada = person()
    body = {
        "prompts": ["One line.\nAnd another.", "Two."],
        "layers": [1, 3],
        "max_new_tokens": 20,
        "tags": ["x"],
        "name": HOSTILE[:30],
    }
    job = ada.submit(**body)
    assert "Again with changes" in ada.get(f"/jobs/{job}").text
    page = ada.get(f"/new/calibrate?from={job}").text
    assert "<img src=x" not in page
    values = FORMS["calibrate"].filled(request_again(FORMS["calibrate"], _job(api, ada, job)))
    assert FORMS["calibrate"].body(values) == {"model": "demo", **body}
    assert "One line.\nAnd another.\n\nTwo." in html.unescape(page)
    assert 'value="1, 3"' in page
    bob = person()
    assert bob.get(f"/new/calibrate?from={job}").status_code == 404
    assert ada.get(f"/new/steer?from={job}").status_code == 404


def _job(api: Running, ada: Person, job: str):  # type: ignore[no-untyped-def]
    from app.jobs.schemas import JobOut

    return JobOut.model_validate(ada.keyed.get(f"/v1/jobs/{job}").json())


REQUESTS = {
    "extract": {"model": "demo", "trait": "politeness", "methods": ["probe", {"method": "gradient", "steps": 50}], "layers": [2], "refits": 2},
    "generate": {"model": "demo", "prompts": [{"prompt": "Hi", "system_prompt": "Be kind."}], "max_new_tokens": 8, "scope": "prompt"},
    "report": {"models": ["demo"], "traits": ["politeness"], "methods": ["probe", "mean_diff"], "evidence": "quick", "seed": 3},
    "steer": {"model": "demo", "trait": "politeness", "methods": ["probe"], "layers": [2, 3], "doses": [0.5], "operation": "norm_match",
              "matched": []},
}  # fmt: skip


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_job_and_its_form_are_the_same_calculation(api: Running, person: Make, kind: str) -> None:
    """Again without changes must give the same spec, whatever the request said: nothing is dropped on the way through the form."""
    ada = person()
    assert ada.keyed.post("/v1/traits", json=TRAIT).status_code in (200, 201)
    made = ada.keyed.post(FORMS[kind].path, json=REQUESTS[kind])
    assert made.status_code == 202, made.text
    page = ada.get(f"/new/{kind}?from={made.json()['id']}")
    assert page.status_code == 200
    form = FORMS[kind]
    values = form.filled(request_again(form, _job(api, ada, made.json()["id"])))
    once = hidden(ada, kind)
    parts = [(name, (None, one)) for name, given in values.items() for one in given] + [(n, (None, v)) for n, v in once.items()]
    answer = ada.http.post(f"/new/{kind}", files=parts)
    assert answer.url.path.startswith("/jobs/"), words(answer.text)
    again = ada.keyed.get(f"/v1{answer.url.path}").json()
    left_out = {"calibration", "nodes", "from"}  # found, or made again
    if kind == "steer":
        left_out.add("extraction")
    first = {name: value for name, value in made.json()["spec"].items() if name not in left_out}
    second = {name: value for name, value in again["spec"].items() if name not in left_out}
    for spec in (first, second):
        if kind == "report":
            spec["study"] = {name: value for name, value in spec["study"].items() if name != "traits"}  # the version is named now
    assert second == first


def test_an_ablation_fills_the_form_again_without_doses(api: Running, person: Make) -> None:
    """Its spec lists doses all the same, and a request with ablate and doses is refused."""
    ada = person()
    extraction, _ = store_extraction(api.sessions, api.context.storage, ada.name, "b" * 64)
    vector = ada.keyed.get("/v1/vectors", params={"extraction": extraction}).json()["items"][0]["id"]
    body = {"model": "demo", "prompts": [{"prompt": "Hi", "system_prompt": None}], "vectors": [vector], "operation": "ablate"}
    made = ada.keyed.post("/v1/generations", json=body)
    assert made.status_code == 202, made.text
    form = FORMS["generate"]
    again = form.body(form.filled(request_again(form, _job(api, ada, made.json()["id"]))))
    assert form.request.model_validate(again) == form.request.model_validate(body)


def test_vectors_of_the_chosen_model_are_offered(api: Running, person: Make) -> None:
    ada = person()
    store_extraction(api.sessions, api.context.storage, ada.name, "b" * 64)
    page = ada.get("/new/generate?model=demo").text
    assert "refusal: probe, layer 2" in html.unescape(page)
    assert "shuffled" not in page
    assert "choose a model first" in ada.get("/new/generate").text


def test_a_full_quota_is_said_before_submit(api: Running, person: Make) -> None:
    ada, root = person(), person("admin")
    assert root.keyed.put(f"/v1/quotas/{ada.name}", json={"max_queued": 1}).status_code == 200
    first = words(ada.send("/new/calibrate", model="demo", do="check").text)
    assert "Jobs in the queue: 0 of 1 used, and this adds 1." in first
    ada.send("/new/calibrate", model="demo")
    page = words(ada.send("/new/calibrate", model="demo", do="check").text)
    assert "The quotas would not let it pass" in page
    assert ada.send("/new/calibrate", model="demo").status_code == 429


def test_a_viewer_is_told_that_it_may_not_submit(person: Make) -> None:
    viewer = person("viewer")
    assert viewer.get("/new/calibrate").status_code == 403
    assert "New job" not in viewer.get("/").text


def test_earlier_jobs_of_the_model_tell_how_long_it_takes(api: Running, person: Make) -> None:
    api.add_model("timed")
    ada = person()
    job = ada.submit(model="timed")
    while (lease := claim(api.sessions)).job.id != job:
        pass
    succeed(api.sessions, api.context.storage, lease)
    assert "of device time, by earlier jobs of the model" in ada.send("/new/calibrate", model="timed", do="check").text


@pytest.mark.parametrize(
    ("text", "texts"),
    [("a\nb", ["a", "b"]), ("a\nb\n\nc", ["a\nb", "c"]), ("\n a \n", [" a "]), ("", []), ("a\n\n\n b", ["a", " b"])],
)
def test_texts_are_separated_by_line_breaks_or_by_empty_lines(text: str, texts: list[str]) -> None:
    assert texts_of(text) == texts
