"""An export request becomes a job that a light worker turns into a file; requests that cannot be served are refused."""

import io
import tarfile

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth.viewer import Viewer
from app.exports import service
from app.exports.schemas import ExportRequest
from app.jobs import repository
from app.jobs.submission import Asker
from app.storage.base import key_of
from app.storage.factory import open_storage
from tests.api.conftest import Running
from tests.api.test_bad_input import problem
from tests.exports.conftest import store_extraction
from tests.worker.conftest import Service


def test_a_light_worker_writes_the_vectors_that_were_asked_for(live: Service) -> None:
    storage = open_storage(live.settings.storage_url.get_secret_value())
    identifier, source = store_extraction(live.sessions, storage)
    request = ExportRequest(format="trait-interp", methods=["probe"], layers=[3, 0], tags=["mine"])
    with live.sessions.begin() as session:
        answer = service.submit(session, Asker(Viewer("ada", "member"), live.settings), identifier, request)
    made = answer.job
    assert (made.kind, made.spec["extraction"], made.spec["layers"], answer.replayed) == ("export", source, [0, 3], False)
    live.node()
    job = live.ended(made.id)
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert job.result["export"]["file"] == "refusal.tar.gz"
    with live.sessions() as session:
        artifact = repository.artifact(session, made.id, "refusal.tar.gz")
    assert artifact is not None
    with tarfile.open(fileobj=io.BytesIO(storage.get(key_of(artifact.digest)))) as archive:
        names = [name for name in archive.getnames() if name.endswith(".pt")]
    assert len(names) == 3 * 2 * 2  # positions, components, layers
    assert "vectors/response__5/residual/probe/layer3.pt" in names


def test_an_export_is_submitted_once_under_a_key_and_named_by_extraction_or_job(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    identifier, job = store_extraction(sessions, api.context.storage)
    key = {"Idempotency-Key": "once"}
    first = ada.post(f"/v1/extractions/{identifier}/exports", json={"format": "pt"}, headers=key)
    again = ada.post(f"/v1/extractions/{identifier}/exports", json={"format": "pt"}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["Location"] == again.headers["Location"] == f"/v1/jobs/{first.json()['id']}"
    assert again.headers["Idempotency-Replayed"] == "true"
    by_job = ada.post(f"/v1/extractions/{job}/exports", json={"format": "pt"})
    assert by_job.json()["spec"] == first.json()["spec"]
    assert ada.get("/v1/jobs", params={"kind": "export"}).json()["items"][0]["model"] == "demo"


@pytest.mark.parametrize(
    ("body", "code", "pointer", "words"),
    [
        ({"format": "pickle"}, "literal_error", "/format", "trait-interp"),
        ({}, "missing_field", "/format", "required"),
        (
            {"format": "pt", "methods": ["probe", "lda"]},
            "unknown_selection",
            "/methods/1",
            "It has: mean_diff_top1, probe, random__seed1",
        ),
        ({"format": "pt", "layers": [1]}, "unknown_selection", "/layers/0", "It has: 0, 3, 10"),
        ({"format": "pt", "positions": ["response[:7]"]}, "unknown_selection", "/positions/0", "response[:5]"),
        ({"format": "gguf", "layers": [0]}, "nothing_to_export", "", "no layer 0"),
        ({"format": "gguf", "components": ["k_proj"]}, "nothing_to_export", "", "residual coordinates"),
        ({"format": "pt", "methods": []}, "too_short", "/methods", "1"),
        ({"format": "pt", "methods": ["\x00"]}, "invalid_characters", "/methods/0", "U+0000"),
        ({"format": "pt", "after": [{"job": "job_" + "0" * 26}]}, "unknown_job", "/after/0/job", "no job"),
        ({"format": "pt", "layer": [1]}, "unknown_field", "/layer", "does not take this field"),
    ],
)
def test_a_bad_request_is_refused_at_the_field_that_is_wrong(
    api: Running,
    ada: httpx2.Client,
    sessions: sessionmaker[Session],
    body: dict[str, object],
    code: str,
    pointer: str,
    words: str,
) -> None:
    identifier, _ = store_extraction(sessions, api.context.storage)
    found = problem(ada.post(f"/v1/extractions/{identifier}/exports", json=body), 422)
    assert (found["errors"][0]["code"], found["errors"][0]["pointer"]) == (code, pointer)
    assert words in found["detail"]


def test_another_persons_extraction_is_not_found(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    identifier, job = store_extraction(sessions, api.context.storage, owner="bob")
    for name in (identifier, job, "ext_" + "0" * 26):
        assert problem(ada.post(f"/v1/extractions/{name}/exports", json={"format": "pt"}), 404)
