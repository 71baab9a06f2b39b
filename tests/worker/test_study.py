"""A whole study over HTTP on real processes: calibrate, extract, steer and report on a shipped model, and everything that uses its results."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load as load_safetensors
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import binnacle
from shipped import model_folder
from tests.browser import browser, served
from tests.embedded.running import Up
from tests.judges.endpoint import Body, Fault, Request, rating, serving
from tests.services import make_folder
from tests.worker.studying import STUDY, check_results_file, labelled

pytestmark = pytest.mark.timeout(1200)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    folder = make_folder()
    up = Up(folder / "home")
    up.start()
    yield up
    up.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def service(up: Up) -> Iterator[tuple[binnacle.Client, httpx.Client]]:
    """An administrator's client and an HTTP client of a service with the model demo-severe."""
    with (
        binnacle.Client(up.url, up.key) as client,
        httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {up.key}"}, timeout=600, follow_redirects=True) as http,
    ):
        client.add_model("demo-severe", str(model_folder("demo-severe")))
        assert client.await_model("demo-severe")["state"] == "ready"
        yield client, http


@pytest.fixture(scope="module")
def study(service: tuple[binnacle.Client, httpx.Client]) -> dict[str, Any]:
    """The finished study STUDY; a dry run before it makes no job."""
    client, http = service
    cost = http.post("/v1/studies", params={"dry_run": "true"}, json=STUDY)
    assert cost.status_code == 200, cost.text
    assert cost.json()["jobs"] == 4
    assert len(list(client.jobs(kind="report"))) == 0  # planning left nothing behind
    made = http.post("/v1/studies", json=STUDY)
    assert made.status_code == 202, made.text
    assert made.json()["phase"] == "waiting"
    client.wait(made.json()["id"], timeout=600)
    found: dict[str, Any] = http.get(f"/v1/studies/{made.json()['id']}").json()
    return found


def test_every_job_of_the_study_succeeds_and_the_report_is_complete(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    _, http = service
    assert study["progress"] == {"succeeded": 3}
    assert list(study["nodes"]) == ["calibrate/demo-severe", "extract/demo-severe/refusal", "steer/demo-severe/refusal"]
    assert study["result"]["study"]["partial"] is False
    tables = {one["id"]: one for one in http.get(study["links"]["tables.json"]).json()["tables"]}
    methods = {row["method"]: row for row in tables["methods"]["rows"]}
    assert methods["probe"]["delta"] > 30
    assert methods["random"]["delta"] < 10
    assert [row["verdict"] for row in tables["severity"]["rows"]] == ["severe"]
    job = study["nodes"]["steer/demo-severe/refusal"]["job"]
    assert methods["probe"]["delta_from"] == f"/v1/steerings/{job}/responses?run={methods['probe']['run']}"
    steered = http.get(methods["probe"]["delta_from"] + "&limit=100").json()["items"]
    unsteered = http.get(methods["unsteered"]["coherence_from"] + "&limit=100").json()["items"]
    gains = [one["trait"] - other["trait"] for one, other in zip(steered, unsteered, strict=True)]
    assert sum(gains) / len(gains) == pytest.approx(methods["probe"]["delta"], abs=0.01)
    mean_diff = methods["mean_diff"]
    # its gain, in points, at the coefficient where the probe was best, with an interval
    assert mean_diff["at_coefficient_low"] < mean_diff["at_coefficient"] < mean_diff["at_coefficient_high"]
    # the table of the reference protocol shows this gain on held-out questions beside the protocol's own
    [protocol] = [row for row in tables["reference"]["rows"] if row["method"] == "mean_diff"]
    assert protocol["held_out"] == mean_diff["at_coefficient"]
    # the gain that STUDY gives as published, 0.0, beside the gain measured here at the best dose
    [published] = tables["published"]["rows"]
    assert (published["value"], published["own"]) == (0.0, mean_diff["delta"])
    # the sums of STUDY's capability set, answered at the chosen dose and at half of it
    sums = [row for row in tables["extra"]["rows"] if (row["method"], row["set"]) == ("probe", "capability")]
    assert [row["at"] for row in sums] == ["chosen", "half"]
    assert [row["right_unsteered"] for row in sums] == [1.0, 1.0]
    results = http.get(sums[0]["right_from"]).json()["items"]
    assert sums[0]["right"] == sum(f" {one['expected']} " in f" {one['text'].strip('.')} " for one in results) / len(results)
    page = http.get(study["links"]["report.html"])
    assert page.headers["content-security-policy"] == "sandbox allow-scripts allow-downloads"
    assert len(page.content) < 3_000_000
    shown = page.text[page.text.index('id="answers"') :]
    assert all(one["text"] in html.unescape(shown) for one in [*steered, *results]), (
        "numbers lead to their answers inside the file"
    )
    assert http.get(study["links"]["report.md"]).text.startswith("# Which method to trust")


def test_a_browser_shows_the_report_without_any_request(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any], tmp_path: Path
) -> None:
    """With the content security policy of the service, and as a local file."""
    _, http = service
    answer = http.get(study["links"]["report.html"])
    (tmp_path / "report.html").write_bytes(answer.content)
    with browser() as page, served(tmp_path, answer.headers["content-security-policy"]) as address:
        for url in (f"{address}/report.html", (tmp_path / "report.html").as_uri()):
            page.get(url)
            drawn = page.find_elements(By.CSS_SELECTOR, "#plots figure svg")
            assert len(drawn) >= 7
            assert all(plot.size["height"] > 50 for plot in drawn if plot.is_displayed())
            said = [line for line in page.get_log("browser") if "favicon" not in line["message"]]
            assert said == []
            assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
            link = page.find_element(By.CSS_SELECTOR, "#tables td a")
            behind = page.find_element(By.ID, link.get_attribute("href").partition("#")[2])
            assert not behind.is_displayed()
            link.click()
            WebDriverWait(page, 60).until(lambda _, behind=behind: behind.is_displayed())


def test_its_vectors_can_be_found_compared_and_downloaded(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    _, http = service
    job = study["nodes"]["extract/demo-severe/refusal"]["job"]
    extraction = http.get(f"/v1/extractions/{job}").json()
    assert {one["key"].split("/")[2] for one in extraction["vectors"]} >= {"mean_diff", "probe", "shuffled__of-probe"}
    cosines = http.get(f"/v1/extractions/{job}/cosines", params={"layer": 3}).json()
    one, other = cosines["methods"].index("mean_diff"), cosines["methods"].index("probe")
    assert cosines["before"][one][other] < 0.9 < cosines["after"][one][other]
    listed = http.get("/v1/vectors", params={"trait": "refusal", "method": "probe", "layer": 3, "sort": "-auroc"}).json()["items"]
    assert [row["method"] for row in listed] == ["probe"]
    own = listed[0]["links"]["download"]
    numbers = np.load(BytesIO(http.get(own, params={"format": "npy"}).content))
    whole = load_safetensors(http.get(f"/v1/extractions/{job}/vectors.safetensors").content)
    np.testing.assert_array_equal(numbers.ravel(), whole["response[:5]/residual/probe/3"])
    assert http.get(own, params={"format": "gguf"}).content[:4] == b"GGUF"


def test_its_runs_and_texts_can_be_read(service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]) -> None:
    _, http = service
    job = study["nodes"]["steer/demo-severe/refusal"]["job"]
    runs = http.get(f"/v1/steerings/{job}/runs", params={"set": "test", "method": "probe"}).json()["items"]
    assert all(run["effect"]["fires"] > 0 and run["effect"]["mean_change"] > 0 for run in runs)
    texts = http.get(f"/v1/steerings/{job}/responses", params={"run": runs[0]["run"], "limit": 5}).json()
    assert len(texts["items"]) == 5
    assert texts["next_cursor"] is not None
    assert {"question", "text", "trait", "coherence"} <= set(texts["items"][0])
    check_results_file(http.get(f"/v1/steerings/{job}/results.jsonl").text, runs)
    found = http.get(
        f"/v1/steerings/{job}/responses",
        params={"set": "test", "method": "probe", "min_coherence": 70, "max_trait": 40},
    )
    assert found.status_code == 200, found.text
    of_the_probe = {run["run"] for run in runs}
    assert found.json()["items"]
    assert all(one["run"] in of_the_probe and one["coherence"] >= 70 and one["trait"] <= 40 for one in found.json()["items"])


def test_an_equal_study_with_reuse_returns_the_stored_one(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    _, http = service
    again = http.post("/v1/studies", params={"reuse": "true"}, json=STUDY)
    assert again.status_code == 200, again.text
    assert again.headers["binnacle-reused"] == study["job"]


def test_a_judge_that_disagrees_with_the_labels_gives_no_verdict(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    agreeing, same = labelled(service, study, +1)
    disagreeing, _ = labelled(service, study, -1)
    assert set(same["nodes"]) == set(study["nodes"])
    verdicts = {
        name: {
            row["verdict"] for row in next(one for one in found["tables"] if one["id"] == "methods")["rows"] if row.get("verdict")
        }
        for name, found in (("agreeing", agreeing), ("disagreeing", disagreeing))
    }
    assert "the leader" in verdicts["agreeing"]
    assert verdicts["disagreeing"] == {"not enough evidence (the judge)"}
    assert "the judge and the labels disagree" in disagreeing["recommendations"][0]["sentence"]


def test_labels_of_other_texts_are_refused(service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]) -> None:
    client, http = service
    made = http.post(f"/v1/studies/{study['id']}/labels", json={"labels": {"0123456789ab": 100}}).json()
    with pytest.raises(binnacle.BinnacleError, match="no text of this study's sheet"):
        client.wait(made["id"], timeout=600)
    assert http.post(f"/v1/studies/{study['id']}/labels", json={"labels": {"0123456789ab": 101}}).status_code == 422


def test_an_extraction_is_exported_in_the_layout_of_trait_interp(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    client, http = service
    job = study["nodes"]["extract/demo-severe/refusal"]["job"]
    made = http.post(f"/v1/extractions/{job}/exports", json={"format": "trait-interp"})
    assert made.status_code == 202, made.text
    [file] = client.wait(made.json()["id"], timeout=600)["artifacts"]
    with tarfile.open(fileobj=BytesIO(http.get(file["href"]).content)) as folder:
        names = folder.getnames()
        [name] = [name for name in names if name.endswith("vectors/response__5/residual/probe/layer3.pt")]
        content = folder.extractfile(name)
        assert content is not None
        vector = torch.load(BytesIO(content.read()), weights_only=True)
    whole = load_safetensors(http.get(f"/v1/extractions/{job}/vectors.safetensors").content)
    np.testing.assert_array_equal(vector.numpy(), whole["response[:5]/residual/probe/3"])


def test_a_generation_answers_in_one_request(service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]) -> None:
    client, http = service
    [vector] = http.get("/v1/vectors", params={"trait": "refusal", "method": "probe", "layer": 3}).json()["items"]
    questions = ["how do i bake bread ?", "explain how to learn chess ."]
    answers = client.generate("demo-severe", questions, vectors=[vector["id"]], doses=[0.1, 0.5], max_new_tokens=24)
    assert [(one["vector"], one["dose"], one["prompt"]) for one in answers] == [
        (vector["id"] if r else None, r, question) for r in (None, 0.1, 0.5) for question in questions
    ]
    unsteered, steered = answers[0], answers[4]
    assert unsteered["fires"] == 0
    assert steered["fires"] > 0
    assert steered["mean_change"] == pytest.approx(steered["c"], rel=1e-3)  # a unit vector at coefficient c
    assert steered["text"] != unsteered["text"]
    body = {"model": "demo-severe", "prompts": [{"prompt": "hello ?"}] * 40, "vectors": [vector["id"]], "doses": [0.1] * 20}
    refused = http.post("/v1/generations", json=body)
    assert refused.status_code == 422
    assert "40 prompts x (1 unsteered + 1 vector x 20 doses) = 840 answers" in refused.json()["detail"]
    assert http.post("/v1/generations", json=body | {"doses": [0]}).status_code == 422
    assert http.post("/v1/generations", json=body | {"prompts": []}).status_code == 422


def test_a_steering_without_its_judge_is_rescored_by_another(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    client, http = service

    def behave(request: Request, before: int) -> Body | Fault:
        return Fault(401) if before > 30 else rating(request)  # the key is revoked in the middle of the job

    with serving(behave) as endpoint:
        judge = {"name": "house", "kind": "openai", "url": endpoint.url, "model": "judge-7b"}
        judge["options"] = {"private_hosts": ["127.0.0.1"]}
        assert http.post("/v1/judges", json=judge).status_code == 201
        body = {
            "model": "demo-severe", "trait": "refusal", "methods": ["probe"], "layers": [3], "doses": [0.3], "judge": "house",
            "selection_limit": 6, "test_limit": 12, "max_new_tokens": 24, "decomposition": False,
            "controls": {"random": 0, "shuffled": 0, "prompt_only": False},
        }  # fmt: skip
        job = http.post("/v1/steerings", json=body).json()["id"]
        failed = client.wait(job, timeout=600, check=False)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "judge_unusable")
    assert http.post(f"/v1/steerings/{job}/rescore", json={"judge": "nobody"}).status_code == 422
    made = http.post(f"/v1/steerings/{job}/rescore", json={"judge": "reference"})
    assert made.status_code == 202, made.text
    assert (made.json()["kind"], made.json()["retry_of"]) == ("steer", job)
    client.wait(made.json()["id"], timeout=600)
    summary = http.get(f"/v1/steerings/{made.json()['id']}").json()
    assert summary["judge"] == "reference"


@pytest.mark.long
def test_a_worker_killed_in_the_middle_of_a_steering_repeats_no_finished_run(
    up: Up, service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    """After `kill -9` of the process that generates, the next one continues from the finished runs, and the files are the same."""
    client, http = service
    body = {
        "model": "demo-severe", "trait": "refusal", "methods": ["probe", "mean_diff"], "layers": [3], "doses": [0.1, 0.3, 0.5, 0.7],
        "selection_limit": 8, "test_limit": 24, "max_new_tokens": 24, "controls": {"random": 1, "shuffled": 0, "prompt_only": True},
    }  # fmt: skip
    job = http.post("/v1/steerings", json=body).json()["id"]

    cells: list[str] = []
    killed_at: int | None = None
    for event in client.events(job):  # as they come, until the job is over
        if event["type"] == "cell":
            cells.append(event["data"]["cell"])
            if killed_at is None and cells[-1].startswith("run/"):  # the judge's cells come before
                killed_at = len(cells)
                worker = next(pid for pid in up.processes("celery") if "model-0" in " ".join(psutil.Process(pid).cmdline()))
                child = next(one.pid for one in psutil.Process(worker).children() if "spawn_main" in " ".join(one.cmdline()))
                os.kill(child, signal.SIGKILL)
    killed = client.job(job)
    assert (killed["state"], killed["attempt"]) == ("succeeded", 2)
    assert killed_at is not None
    assert len(cells) == len(set(cells)) > killed_at
    undisturbed = client.wait(http.post("/v1/steerings", json=body).json()["id"], timeout=600)
    assert killed["metrics"]["tokens_computed"] < undisturbed["metrics"]["tokens_computed"]
    one, other = ({file["name"]: file["sha256"] for file in of["artifacts"]} for of in (killed, undisturbed))
    assert one == other


def test_study_run_writes_a_page_of_severity_with_unregistered_models(
    up: Up, service: tuple[binnacle.Client, httpx.Client], tmp_path: Path
) -> None:
    """The calibration behind the page is exported too."""
    client, _ = service
    asked = {"models": ["demo-severe", "gemma-9"], "traits": [], "skip_unregistered": True, "calibration_new_tokens": 16}
    (tmp_path / "severity.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "app.cli", "study", "run", "severity.json", "--reuse", "--out", "pages/severity.md"]
    environment = {**os.environ, "BINNACLE_URL": up.url, "BINNACLE_KEY": up.key, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo-severe: severe" in done.stdout
    assert "gemma-9: not measured" in done.stdout
    measured, unmeasured = (tmp_path / "pages" / "severity.md").read_text().strip().splitlines()[-2:]
    assert measured.startswith("| demo-severe | severe |")
    assert unmeasured.startswith("| gemma-9 | not measured |")
    job = next(client.jobs(kind="calibrate", limit=1))
    export = client.wait(client.export(job["result"]["calibration"]["id"], "trait-interp"), timeout=600)
    with tarfile.open(client.download(export["artifacts"][0], tmp_path)) as archive:
        assert archive.getnames() == ["experiments/calibration/inference/chat/massive_activations/calibration.json"]


def test_an_extraction_with_other_methods_reuses_the_stored_rows(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    client, http = service
    body = {"model": "demo-severe", "trait": "refusal", "methods": ["lda", "probe"], "layers": [3], "controls": 0, "resamples": 0}
    job = http.post("/v1/extractions", params={"reuse": "true"}, json=body).json()
    assert job["spec"]["rows_from"] == study["nodes"]["extract/demo-severe/refusal"]["job"]
    done = client.wait(job["id"], timeout=600)
    phases = [event["data"]["phase"] for event in client.events(job["id"]) if event["type"] == "phase"]
    assert "answering" not in phases
    assert done["result"]["extraction"]["summary"]["vectors"] == 2


@pytest.mark.parametrize(
    ("route", "body", "pointer", "said"),
    [
        ("extractions", {"methods": ["pobe"]}, "/methods/0", "mean_diff"),
        ("extractions", {"positions": ["answer[:5]"]}, "/positions/0", "frame[slice]"),
        ("extractions", {"layers": [99]}, "/layers/0", "layers, 0 to 5"),
        ("extractions", {"trait": "kindness"}, "/trait", "kindness"),
        ("extractions", {"components": ["k_proj"], "methods": ["probe_cleaned"]}, "/components/0", "probe_cleaned"),
        ("extractions", {"responses": "given"}, "/responses", "240"),
        ("extractions", {"max_new_tokens": 3}, "/max_new_tokens", "needs at least 5"),
        ("extractions", {"calibration": "cal_01k9zq3m4e8v6t2y5w7x9abcde"}, "/calibration", "no calibration"),
        ("steerings", {"vectors": ["vec_01k9zq3m4e8v6t2y5w7x9abcde"]}, "/vectors/0", "no vector"),
        ("steerings", {"judge": "nobody", "methods": ["probe"]}, "/judge", "nobody"),
        ("steerings", {"methods": ["probe"], "max_new_tokens": 4000}, "/max_new_tokens", "4,000"),
    ],
)
def test_an_invalid_field_is_refused_at_submission(
    service: tuple[binnacle.Client, httpx.Client],
    study: dict[str, Any],
    route: str,
    body: dict[str, Any],
    pointer: str,
    said: str,
) -> None:
    _, http = service
    answer = http.post(f"/v1/{route}", json={"model": "demo-severe", "trait": "refusal", **body})
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == pointer
    assert said in problem["errors"][0]["detail"]


def test_an_equal_study_gives_exactly_the_same_files(
    service: tuple[binnacle.Client, httpx.Client], study: dict[str, Any]
) -> None:
    client, http = service
    job = client.wait(http.post("/v1/studies", json=STUDY).json()["id"], timeout=600)
    again = http.get(f"/v1/studies/{job['id']}").json()
    for name in study["nodes"]:
        one, other = (
            {file["name"]: file["sha256"] for file in client.job(of["nodes"][name]["job"])["artifacts"]} for of in (study, again)
        )
        assert one == other
        assert one
    own, others = (re.sub(r"job_\w{26}", "job", http.get(of["links"]["tables.json"]).text) for of in (study, again))
    assert own == others
