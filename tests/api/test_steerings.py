"""Steerings and generations that cannot run are refused at submission, by field and with the numbers; others plan the jobs they need."""

import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.models import Job
from terms.methods import is_control
from tests.api.conftest import FACTS, Running
from tests.api.extracted import store_extraction
from tests.api.test_bad_input import problem
from tests.api.test_vector_import import direction, npy, send
from tests.api.test_warnings import small

pytestmark = pytest.mark.usefixtures("specs_as_written")

GOOD = {"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [2]}
ASK = {"selection": [{"question": "a ?"}], "test": [{"question": "b ?"}]}
BAD: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("no dose", {"doses": [0]}, "greater_than", "/doses/0", "0"),
    ("a negative dose", {"doses": [0.5, -1]}, "greater_than", "/doses/1", "0"),
    ("a dose past all sense", {"doses": [101]}, "less_than_equal", "/doses/0", "100"),
    ("no doses", {"doses": []}, "too_short", "/doses", "1"),
    ("no coefficient", {"coefficients": [3, 0]}, "value_error", "/coefficients/1", "does not steer"),
    ("a huge coefficient", {"coefficients": [1e8]}, "less_than_equal", "/coefficients/0", "10,000,000"),
    ("both", {"doses": [1], "coefficients": [1]}, "value_error", "", "exclude each other"),
    ("ablating at a coefficient", {"operation": "ablate", "coefficients": [1]}, "value_error", "", "no dose"),
    ("ablating at a dose", {"operation": "ablate", "doses": [1]}, "value_error", "", "no dose"),
    ("matching norms at a coefficient", {"operation": "norm_match", "coefficients": [1]}, "value_error", "", "give /doses"),
    ("several layers at a coefficient", {"combine": True, "coefficients": [1]}, "value_error", "", "their raw coefficients differ"),
    ("an unknown operation", {"operation": "rotate"}, "literal_error", "/operation", "norm_match"),
    ("a layer out of range", {"layers": [8]}, "layer_out_of_range", "/layers/0", "8 layers, 0 to 7"),
    ("a layer that was not extracted", {"layers": [3], "extraction": "EXTRACTION"}, "not_in_the_extraction", "/layers/0", "It has: 2, 5"),
    ("a method that was not extracted", {"methods": ["pca"], "extraction": "EXTRACTION"}, "not_in_the_extraction", "/methods/0", "probe"),
    ("an unknown method", {"methods": ["pobe"]}, "unknown_method", "/methods/0", "mean_diff"),
    ("an unknown vector", {"vectors": ["vec_" + "0" * 26]}, "unknown_vector", "/vectors/0", "no vector"),
    ("a vector of another model", {"vectors": ["OTHERS"]}, "vector_of_another_model", "/vectors/0", "belongs to twin"),
    ("a vector of other weights", {"vectors": ["OLD"]}, "vector_of_other_weights", "/vectors/0", "Extract it again"),
    ("an extraction of another model", {"extraction": "OTHERS'"}, "vector_of_another_model", "/extraction", "belongs to twin"),
    ("vectors by name and by choice", {"vectors": ["OTHERS"], "layers": [2]}, "value_error", "", "one by one"),
    ("no questions", {"questions": {"selection": [], "test": [{"question": "b"}]}}, "too_short", "/questions/selection", "1"),
    ("a blank right answer", {"capability": [{"question": "What?", "answer": " "}]}, "blank_prompt", "/capability/0/answer", "white space"),
    ("a blank question", {"questions": ASK | {"test": [{"question": " "}]}}, "blank_prompt", "/questions/test/0", "white space"),
    ("asked in both sets", {"questions": ASK | {"test": [{"question": "a ?"}]}}, "cluster_in_both_sets", "/questions/test/0", "selection/0"),
    ("a control character", {"questions": ASK | {"test": [{"question": "\x00"}]}}, "invalid_characters", "/questions/test/0/question", "U+0000"),
    ("longer than the context", {"max_new_tokens": 512}, "context_exceeded", "/max_new_tokens", "512 tokens"),
    ("a push after the only token", {"scope": "response", "max_new_tokens": 1}, "no_effect", "/scope", "scope all"),
    ("no budget", {"budget": 1}, "greater_than_equal", "/budget", "2"),
    ("an unknown judge", {"judge": "nobody"}, "unknown_judge", "/judge", "nobody"),
    ("an unknown trait", {"trait": "evil"}, "unknown_trait", "/trait", "refusal"),
    ("an unknown calibration", {"calibration": "cal_" + "0" * 26}, "unknown_calibration", "/calibration", "no calibration"),
    ("sampling without heat", {"sampling": {"temperature": 0}}, "greater_than", "/sampling/temperature", "0"),
    ("an unknown field", {"dosis": 1}, "unknown_field", "/dosis", "does not take this field"),
]  # fmt: skip
"""What is wrong; the change of the request (words in capitals: see `names`); the code and pointer of its error; words of its detail."""


@pytest.fixture
def names(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> dict[str, str]:
    """The ids that the words in capitals of BAD and BAD_GENERATIONS stand for."""
    version = ada.get("/v1/traits/refusal").json()["version"]
    own, _ = store_extraction(sessions, api.context.storage, "ada", version)
    api.add_model("twin", facts={**FACTS, "weight_hash": "c" * 64})
    others, _ = store_extraction(sessions, api.context.storage, "ada", version, model="twin", weight_hash="c" * 64)
    old, _ = store_extraction(sessions, api.context.storage, "ada", "0" * 64, weight_hash="b" * 64)

    def first(extraction: str) -> str:
        vectors = ada.get("/v1/vectors", params={"extraction": extraction}).json()["items"]
        return next(str(one["id"]) for one in vectors if not is_control(one["method"]))

    return {"EXTRACTION": own, "OTHERS": first(others), "OLD": first(old), "OTHERS'": others}


def filled(change: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The change with ids in place of these words."""
    text = json.dumps(change)
    for word in sorted(names, key=len, reverse=True):
        text = text.replace(f'"{word}"', f'"{names[word]}"')
    found: dict[str, Any] = json.loads(text)
    return found


def jobs_in(sessions: sessionmaker[Session], kind: str) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Job).where(Job.kind == kind)) or 0


def test_each_bad_steering_is_refused_by_field_and_makes_nothing(
    ada: httpx2.Client, names: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    for what, change, code, pointer, words in BAD:
        asked = {"model": "demo", "trait": "refusal"} if "vectors" in change else GOOD
        found = problem(ada.post("/v1/steerings", json=asked | filled(change, names)), 422)
        error = found["errors"][0]
        assert (error["code"], error["pointer"]) == (code, pointer), (what, found)
        assert words in error["detail"], (what, found)
    assert jobs_in(sessions, "steer") == jobs_in(sessions, "calibrate") == 0


@pytest.mark.parametrize(
    ("change", "code", "pointer", "words"),
    [
        ({"trait": "short", "extra_sets": ["paraphrases"]}, "no_questions", "/extra_sets/0", "short has no paraphrases question"),
        ({"trait": "odd", "extra_sets": ["paraphrases", "unrelated"]}, "no_questions", "/extra_sets/1", "odd has no unrelated question"),
        ({"off_target": [{"trait": "odd"}, {"trait": "untested"}]}, "no_questions", "/off_target/1/trait", "untested has no test question"),
        ({"off_target": [{"trait": "short"}, {"trait": "odd"}, {"trait": "short@OLD"}]}, "repeated_trait", "/off_target/2/trait", "entry 0 of"),
    ],
)  # fmt: skip
def test_a_set_without_questions_and_a_trait_named_twice_are_refused(
    ada: httpx2.Client, change: dict[str, Any], code: str, pointer: str, words: str
) -> None:
    """A worker would fail on the former after its model is loaded, and give both versions of the latter the answers of one."""
    old = ada.post("/v1/traits", json=small("short", 2)).json()["version"]
    for trait in (small("short", 3), small("odd", 3) | {"paraphrases": ["a ?"]}, small("untested", 0)):
        assert ada.post("/v1/traits", json=trait).status_code == 201
    asked = json.loads(json.dumps(GOOD | change).replace("OLD", old))
    error = problem(ada.post("/v1/steerings", json=asked), 422)["errors"][0]
    assert (error["code"], error["pointer"]) == (code, pointer), error
    assert words in error["detail"]


def vectors_of(ada: httpx2.Client, extraction: str, **narrowed: Any) -> list[str]:
    found = ada.get("/v1/vectors", params={"extraction": extraction, **narrowed}).json()["items"]
    return [one["id"] for one in found]


def test_two_vectors_of_one_method_and_layer_are_refused_and_one_named_twice_counts_once(
    api: Running, ada: httpx2.Client, names: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    """A result names its vectors by method and layer: it would hold one of the two twice, and the other not at all."""
    version = ada.get("/v1/traits/refusal").json()["version"]
    other, _ = store_extraction(sessions, api.context.storage, "ada", version)
    [one] = vectors_of(ada, names["EXTRACTION"], method="probe", layer=2)
    [alike] = vectors_of(ada, other, method="probe", layer=2)
    [deeper] = vectors_of(ada, other, method="probe", layer=5)
    asked = {"model": "demo", "trait": "refusal"}
    error = problem(ada.post("/v1/steerings", json=asked | {"vectors": [one, deeper, alike]}), 422)["errors"][0]
    assert (error["code"], error["pointer"]) == ("same_place", "/vectors/2"), error
    assert f"{alike} and {one} are both response[:5]/residual/probe/2" in error["detail"]
    made = ada.post("/v1/steerings", json=asked | {"vectors": [one, deeper, one]})
    assert made.status_code == 202, made.text
    assert [vector["id"] for vector in made.json()["spec"]["vectors"]] == [one, deeper]


def test_controls_alone_are_refused_before_anything_runs(ada: httpx2.Client, names: dict[str, str]) -> None:
    """The whole search ran, and the job then said that no vector had a clean dose. A label that only begins like a control is a vector."""
    asked = {"model": "demo", "trait": "refusal"}
    by_method = asked | {"extraction": names["EXTRACTION"], "methods": ["random", "shuffled__of-probe"]}
    by_id = asked | {"vectors": vectors_of(ada, names["EXTRACTION"], method="random")}
    for body, pointer in ((by_method, "/methods"), (by_id, "/vectors")):
        error = problem(ada.post("/v1/steerings", json=body), 422)["errors"][0]
        assert (error["code"], error["pointer"]) == ("only_controls", pointer), error
    beside = by_method | {"methods": ["random", "probe"]}
    assert ada.post("/v1/steerings?dry_run=true", json=beside).status_code == 200
    for method, status in (("randomness_trait", 200), ("shuffled-deck", 200), ("random", 422)):
        made = send(ada, npy(direction(0)), vector_layers="2", method=method)
        assert made.status_code == 201, made.text
        steered = asked | {"vectors": [one["id"] for one in made.json()["items"]]}
        assert ada.post("/v1/steerings?dry_run=true", json=steered).status_code == status, method


def test_the_judge_reads_responses_of_the_steered_version_of_the_trait_alone(
    api: Running, ada: httpx2.Client, names: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    """Prompts of another version may be test questions of this one."""
    older, _ = store_extraction(sessions, api.context.storage, "ada", "0" * 64)
    for extraction, own in ((older, False), (names["EXTRACTION"], True)):
        vectors = vectors_of(ada, extraction, method="probe")
        by_id = ada.post("/v1/steerings", json={"model": "demo", "trait": "refusal", "vectors": vectors})
        chosen = ada.post("/v1/steerings", json=GOOD | {"extraction": extraction})
        read = [answer.json()["spec"]["extraction"] for answer in (by_id, chosen)]
        assert [job is not None for job in read] == [own, own], read
        assert read[0] == read[1]


def test_layers_that_are_combined_are_one_cell(ada: httpx2.Client, names: dict[str, str]) -> None:
    for combine, cells in ((False, 2), (True, 1)):
        for chosen in (
            {"extraction": names["EXTRACTION"], "methods": ["probe"]},
            {"vectors": vectors_of(ada, names["EXTRACTION"], method="probe")},
        ):
            asked = {"model": "demo", "trait": "refusal", "combine": combine, **chosen}
            cost = ada.post("/v1/steerings", params={"dry_run": "true"}, json=asked).json()
            assert cost["cells"] == cells, (chosen, cost)
            assert cost["arithmetic"].startswith(f"{cells} cell{'' if cells == 1 else 's'} x 6 doses")


def test_a_dose_that_is_not_finite_is_refused(ada: httpx2.Client, names: dict[str, str]) -> None:
    for route, asked in (("steerings", GOOD), ("generations", GENERATION)):
        for field in ("doses", "coefficients"):
            for number in ("NaN", "Infinity", "-Infinity", "1e999"):
                body = json.dumps(asked | {field: ["HERE"]}).replace('"HERE"', number)
                answer = ada.post(f"/v1/{route}", content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code == 422, (route, field, number, answer.text)
                assert problem(answer, 422)["errors"]


def test_a_grid_past_the_cap_shows_the_product(
    ada: httpx2.Client, names: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    asked = {"model": "demo", "trait": "refusal", "extraction": names["EXTRACTION"], "budget": 24, "questions": None}
    many = [{"question": f"{i} ?"} for i in range(3000)]
    asked["questions"] = {"selection": many, "test": [{"question": "a !"}]}
    found = problem(ada.post("/v1/steerings", json=asked), 422)
    assert found["code"] == "grid_too_large"
    assert "4 cells x 24 doses x 3,000 selection questions = 288,000" in found["detail"]
    assert "answers; this server allows" in found["detail"]
    assert "/selection_limit" in found["detail"]
    cost = ada.post("/v1/steerings", params={"dry_run": "true"}, json=asked | {"selection_limit": 10})
    assert cost.status_code == 200, cost.text
    assert "4 cells x 24 doses x 10 selection questions = 960" in cost.json()["arithmetic"]
    assert cost.json()["answers"] <= cost.json()["limit"]
    assert jobs_in(sessions, "steer") == 0


def test_a_steering_of_an_extraction_with_refits_counts_their_answers(ada: httpx2.Client) -> None:
    """Each refit at each position answers all test questions."""
    made = {name: GOOD[name] for name in ("model", "trait", "methods", "layers")} | {"positions": ["response[:5]", "prompt[-1]"]}
    most, arithmetic = [], ""
    for refits in (0, 3):
        job = ada.post("/v1/extractions", json=made | {"refits": refits}).json()["id"]
        cost = ada.post("/v1/steerings", params={"dry_run": "true"}, json=GOOD | {"extraction": job, "test_limit": 7}).json()
        most.append(cost["answers"])
        arithmetic = cost["arithmetic"]
    assert most[1] - most[0] == 3 * 2 * 7
    assert "2 methods x" in arithmetic


def test_a_steering_names_what_it_waits_for_and_a_good_one_is_accepted(ada: httpx2.Client, names: dict[str, str]) -> None:
    made = ada.post("/v1/steerings", json=GOOD)
    assert made.status_code == 202, made.text
    assert made.json()["phase"] == "waiting"  # for the calibration that its doses are measured with
    assert made.json()["spec"]["calibration"]["job"] in made.json()["waiting_for"]


GENERATION = {"model": "demo", "prompts": [{"prompt": "a ?"}]}
BAD_GENERATIONS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"prompts": []}, "too_short", "/prompts", "1"),
    ({"prompts": [{"prompt": " "}]}, "blank_prompt", "/prompts/0", "white space"),
    ({"prompts": [{"prompt": "a"}] * 65}, "too_long", "/prompts", "64"),
    ({"prompts": [{"question": "a"}]}, "missing_field", "/prompts/0/prompt", "required"),
    ({"vectors": ["OTHERS"]}, "vector_of_another_model", "/vectors/0", "belongs to twin"),
    ({"vectors": ["OLD"]}, "vector_of_other_weights", "/vectors/0", "Extract it again"),
    ({"vectors": ["vec_" + "0" * 26]}, "unknown_vector", "/vectors/0", "no vector"),
    ({"doses": [0]}, "greater_than", "/doses/0", "0"),
    ({"coefficients": [0]}, "value_error", "/coefficients/0", "does not steer"),
    ({"operation": "norm_match", "coefficients": [1]}, "value_error", "", "no raw coefficient"),
    ({"vectors": ["OLD"], "scope": "response", "max_new_tokens": 1}, "no_effect", "/scope", "scope all"),
    ({"doses": [0.5]}, "no_vectors", "/doses", "/doses has no effect without /vectors"),
    ({"calibration": "cal_" + "0" * 26}, "no_vectors", "/calibration", "/calibration has no effect without /vectors"),
    ({"max_new_tokens": 257}, "too_many_new_tokens", "/max_new_tokens", "257; a generation"),
    ({"model": "other"}, "unknown_model", "/model", "demo"),
]


def test_each_bad_generation_is_refused_by_field(ada: httpx2.Client, names: dict[str, str]) -> None:
    for change, code, pointer, words in BAD_GENERATIONS:
        found = problem(ada.post("/v1/generations", json=GENERATION | filled(change, names)), 422)
        error = found["errors"][0]
        assert (error["code"], error["pointer"]) == (code, pointer), found
        assert words in error["detail"], found


def test_raw_coefficients_wait_for_no_calibration(
    ada: httpx2.Client, names: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    own = ada.get("/v1/vectors", params={"extraction": names["EXTRACTION"]}).json()["items"][0]["id"]
    raw = ada.post("/v1/generations", json=GENERATION | {"vectors": [own], "coefficients": [3.0]})
    assert raw.status_code == 202, raw.text
    assert (raw.json()["waiting_for"], raw.json()["spec"]["calibration"]) == ([], None)
    assert jobs_in(sessions, "calibrate") == 0
    dosed = ada.post("/v1/generations", json=GENERATION | {"vectors": [own], "doses": [0.5]}).json()
    assert dosed["waiting_for"] == [dosed["spec"]["calibration"]["job"]]


def test_a_generation_past_its_size_shows_the_product(ada: httpx2.Client, names: dict[str, str]) -> None:
    vectors = [one["id"] for one in ada.get("/v1/vectors", params={"extraction": names["EXTRACTION"]}).json()["items"]]
    asked = {"model": "demo", "prompts": [{"prompt": "a ?"}] * 20, "vectors": vectors, "doses": [0.1, 0.2, 0.3, 0.4]}
    found = problem(ada.post("/v1/generations", json=asked), 422)
    assert "20 prompts x (1 unsteered + 8 vectors x 4 doses) = 660 answers" in found["detail"]
    assert found["errors"][0]["pointer"] == "/prompts"


def test_a_missing_extraction_is_made_first_and_shares_its_calibration(
    ada: httpx2.Client, api: Running, sessions: sessionmaker[Session]
) -> None:
    """Three jobs in a chain, as for a missing calibration; a dry run says so and makes none of them."""
    asked = {
        "model": "demo",
        "trait": "refusal",
        "methods": ["mean_diff_cleaned"],
        "layers": [2],
        "visibility": "public",
        "priority": 7,
    }
    planned = ada.post("/v1/steerings?dry_run=true", json=asked).json()
    assert planned["makes_extraction"] is True
    assert [source["job"] for source in planned["spec"]["from"]] == [None]
    assert planned["cells"] == 1
    assert ada.get("/v1/jobs").json()["items"] == []
    steering = ada.post("/v1/steerings", json=asked).json()
    jobs = {job["kind"]: job for job in ada.get("/v1/jobs").json()["items"]}
    shown = {kind: (job["visibility"], job["priority"]) for kind, job in jobs.items()}
    assert shown == dict.fromkeys(
        ("calibrate", "extract", "steer"), ("public", 7)
    )  # a job is not urgent while what it needs waits
    extraction, calibration = jobs["extract"], jobs["calibrate"]
    assert set(steering["waiting_for"]) == {extraction["id"], calibration["id"]}
    assert extraction["waiting_for"] == [calibration["id"]]
    assert (extraction["spec"]["methods"], extraction["spec"]["layers"]) == (["mean_diff_cleaned"], [2])
    assert steering["spec"]["calibration"] == extraction["spec"]["calibration"] == {"job": calibration["id"]}
    assert steering["spec"]["from"][0]["job"] == extraction["id"]
    for field, value, pointer in (
        ("methods", ["mean_diff", "nonsense"], "/methods/1"),
        ("positions", ["response[:5]", "nonsense"], "/positions/1"),
        ("positions", ["\u0394" * 2000], "/positions/0"),
        ("components", ["nonsense"], "/components/0"),
    ):
        wrong = ada.post("/v1/steerings", json={**asked, field: value})
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, pointer), wrong.text
    assert len(ada.get("/v1/jobs").json()["items"]) == 3


def test_an_extraction_at_other_positions_does_not_fit_and_another_is_made(
    ada: httpx2.Client, api: Running, sessions: sessionmaker[Session]
) -> None:
    version = ada.get("/v1/traits/refusal").json()["version"]
    store_extraction(sessions, api.context.storage, "ada", version)
    asked = {"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [2]}
    for field, value in ({}, False), ({"positions": ["prompt[-1]"]}, True), ({"components": ["attn_out"]}, True):
        planned = ada.post("/v1/steerings?dry_run=true", json={**asked, **field})
        assert planned.json()["makes_extraction"] is value, planned.text
