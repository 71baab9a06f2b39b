"""Vectors of a finished extraction: filtered, sorted, compared, downloaded, hidden from others; and reuse of its kept rows."""

import hashlib
import io
import tracemalloc
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import safetensors.numpy
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from app.extractions.cosines import read_vectors
from app.extractions.models import Extraction, Vector
from app.formats.tensorfile import to_bytes
from app.ids import new_id
from app.jobs.models import Artifact
from app.storage.base import ObjectCorrupt, key_of
from app.storage.local import LocalStorage
from tests.api.conftest import Running
from tests.api.extracted import LAYERS, METHODS, numbers, store_extraction
from tests.api.test_bad_input import problem


@pytest.fixture
def extraction(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> str:
    version = ada.get("/v1/traits/refusal").json()["version"]
    return store_extraction(sessions, api.context.storage, "ada", version)[0]


def listed(client: httpx2.Client, **params: Any) -> list[tuple[str, int]]:
    """Method and layer of each vector in the list."""
    answer = client.get("/v1/vectors", params=params)
    assert answer.status_code == 200, answer.text
    return [(one["method"], one["layer"]) for one in answer.json()["items"]]


def test_every_filter_narrows_and_they_add_up(ada: httpx2.Client, extraction: str) -> None:
    assert len(listed(ada)) == 8
    for name, value, count in (
        ("model", "demo", 8), ("model", "other", 0), ("trait", "refusal", 8), ("trait", "evil", 0), ("method", "probe", 2), ("layer", 5, 4),
        ("position", "response[:5]", 8), ("position", "prompt[-1]", 0), ("component", "residual", 8), ("component", "k_proj", 0),
        ("source", "extracted", 8), ("source", "imported", 0), ("extraction", extraction, 8),
    ):  # fmt: skip
        assert len(listed(ada, **{name: value})) == count, name
    assert listed(ada, method="probe", layer=5, trait="refusal") == [("probe", 5)]
    assert "sort" in problem(ada.get("/v1/vectors", params={"sort": "beauty"}), 422)["detail"]
    assert problem(ada.get("/v1/vectors", params={"layer": -1}), 422)


def test_a_separation_metric_sorts_and_those_without_one_come_last(ada: httpx2.Client, extraction: str) -> None:
    ascending = listed(ada, sort="accuracy")
    assert ascending[:4] == [("mean_diff", 2), ("probe", 2), ("mean_diff", 5), ("probe", 5)]
    assert listed(ada, sort="-accuracy")[:4] == ascending[3::-1]
    assert {method for method, _ in listed(ada, sort="-accuracy")[4:]} == {"random", "shuffled__of-probe"}
    assert listed(ada, sort="-massive_share")[0][0] == "mean_diff"


def test_pages_hold_everything_once(ada: httpx2.Client, extraction: str) -> None:
    seen, cursor = [], "0"
    while cursor is not None:
        page = ada.get("/v1/vectors", params={"limit": 3, "sort": "-accuracy", "cursor": cursor}).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 8


@pytest.mark.parametrize("sort", [None, "accuracy", "-accuracy", "-massive_share"])
def test_vectors_that_come_and_go_between_two_pages_hide_and_repeat_none(
    api: Running, ada: httpx2.Client, extraction: str, sessions: sessionmaker[Session], sort: str | None
) -> None:
    """A page began after a number of vectors: a deletion hid as many from a reader as it took from the pages before."""
    order = {"limit": 3} if sort is None else {"limit": 3, "sort": sort}
    whole = [vector["id"] for vector in ada.get("/v1/vectors", params={**order, "limit": 50}).json()["items"]]
    first = ada.get("/v1/vectors", params=order).json()
    with sessions.begin() as session:
        session.execute(delete(Vector).where(Vector.id.in_(whole[1:3])))  # the last one of the page, too
    if sort is None:
        store_extraction(sessions, api.context.storage, "ada", ada.get("/v1/traits/refusal").json()["version"])
    seen, cursor = [vector["id"] for vector in first["items"]], first["next_cursor"]
    while cursor is not None:
        page = ada.get("/v1/vectors", params={**order, "cursor": cursor}).json()
        seen += [vector["id"] for vector in page["items"]]
        cursor = page["next_cursor"]
    assert seen == whole
    assert problem(ada.get("/v1/vectors", params={**order, "layer": 2, "cursor": first["next_cursor"]}), 422)


def test_an_extraction_lists_its_vectors_in_the_order_asked_for(ada: httpx2.Client, extraction: str) -> None:
    found = ada.get(f"/v1/extractions/{extraction}").json()["vectors"]
    assert [one["key"].split("/", 2)[2] for one in found] == [
        f"{method}/{layer}" for layer in LAYERS for method in (*METHODS, "random", "shuffled__of-probe")
    ]
    assert found[1]["massive_share"] > 0.9


def test_cosines_before_and_after_cleaning_are_those_of_numpy(ada: httpx2.Client, extraction: str) -> None:
    found = ada.get(f"/v1/extractions/{extraction}/cosines", params={"layer": 5}).json()
    assert (found["layer"], found["massive_dims"]) == (5, [7])
    assert found["methods"] == [*METHODS, "random"]  # shuffled labels are left out
    vectors = np.stack([numbers(method, 5).astype(np.float64) for method in found["methods"]])
    np.testing.assert_allclose(found["before"], vectors @ vectors.T, atol=2e-6)
    vectors[:, 7] = 0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found["after"], vectors @ vectors.T, atol=2e-6)
    refused = problem(ada.get(f"/v1/extractions/{extraction}/cosines", params={"layer": 3}), 422)
    assert "layers 2, 5" in refused["detail"]


def test_each_format_holds_the_vector(ada: httpx2.Client, extraction: str) -> None:
    [vector] = ada.get("/v1/vectors", params={"method": "probe", "layer": 5}).json()["items"]
    path = vector["links"]["download"]
    whole = numbers("probe", 5)
    np.testing.assert_array_equal(np.load(io.BytesIO(ada.get(path, params={"format": "npy"}).content)).ravel(), whole)
    [stored] = safetensors.numpy.load(ada.get(path).content).values()
    np.testing.assert_array_equal(stored, whole)
    gguf = ada.get(path, params={"format": "gguf"})
    assert gguf.content[:4] == b"GGUF"
    assert ada.get(path, params={"format": "gguf"}, headers={"If-None-Match": gguf.headers["ETag"]}).status_code == 304
    assert problem(ada.get(path, params={"format": "pt"}), 422)


def test_vectors_of_others_are_not_found(api: Running, ada: httpx2.Client, extraction: str) -> None:
    identifier = ada.get("/v1/vectors").json()["items"][0]["id"]
    with api.client("eve") as eve:
        assert listed(eve) == []
        for path in (
            f"/v1/vectors/{identifier}",
            f"/v1/vectors/{identifier}/download",
            f"/v1/extractions/{extraction}",
            f"/v1/extractions/{extraction}/cosines",
        ):
            assert eve.get(path).status_code == 404, path


def test_kept_rows_are_read_by_an_extraction_that_needs_no_more_than_they_hold(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], extraction: str
) -> None:
    """Only when asked, only one's own, and only of the same examples and responses."""
    body = {"model": "demo", "trait": "refusal", "methods": ["mean_diff_rownorm"], "layers": [5]}
    key = ada.post("/v1/extractions", json=body).json()["spec"]["rows_key"]
    with sessions.begin() as session:
        row = session.get_one(Extraction, extraction)
        row.rows_key, job = key, row.job_id
        file = session.scalars(select(Artifact).where(Artifact.job_id == job)).one()
        session.add(
            Artifact(id=new_id("art"), job_id=job, name="rows.safetensors", digest=file.digest, size=file.size, media_type="x/y")
        )

    def rows_from(client: httpx2.Client = ada, reuse: str = "true", **changes: Any) -> Any:
        answer = client.post("/v1/extractions", params={"reuse": reuse}, json=body | changes)
        assert answer.status_code == 202, answer.text
        return answer.json()["spec"]["rows_from"]

    assert rows_from() == rows_from(layers=[2, 5]) == job
    assert rows_from(reuse="false") is None
    assert rows_from(layers=[2, 3]) is None
    assert rows_from(positions=["prompt[-1]"]) is None
    assert rows_from(components=["mlp_contribution"]) is None
    assert rows_from(max_new_tokens=20) is None
    assert rows_from(special_tokens="text") is None
    with api.client("eve") as eve:
        assert rows_from(eve) is None


def test_a_vector_is_read_from_a_large_file_a_piece_at_a_time(tmp_path: Path) -> None:
    """64 MiB were in memory to send one vector; a damaged file is still refused."""
    storage = LocalStorage(tmp_path)
    vectors = {f"p/residual/probe/{layer}": np.full(1 << 20, layer, np.float32) for layer in range(16)}
    data = to_bytes(vectors)
    digest = hashlib.sha256(data).hexdigest()
    storage.put(key_of(digest), data)
    del data
    rows = [Vector(digest=digest, key=f"p/residual/probe/{layer}") for layer in (9, 3)]
    tracemalloc.start()
    try:
        found = read_vectors(storage, rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.tolist()[::1000] for one in found] == [vectors[row.key].tolist()[::1000] for row in rows]
    assert peak < 40 << 20
    [file] = [path for path in tmp_path.rglob(f"*{digest}*") if path.is_file()]
    file.chmod(0o644)
    with file.open("r+b") as damaged:
        damaged.seek(-1, 2)
        damaged.write(b"\xff")
    with pytest.raises(ObjectCorrupt):
        read_vectors(storage, rows)
