"""Vectors are imported from files of other programs, checked against the model and marked as imported; bad files are refused."""

import base64
import hashlib
import io
import json
import math
import threading
from typing import Any

import httpx2
import numpy as np
import pytest
import safetensors.numpy
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.extractions.models import Vector
from app.formats.registry import write_vectors
from app.formats.vectors import NamedVector, Origin
from app.storage.base import key_of
from terms.documents.extraction import ImportedFacts
from tests.api.conftest import Running
from tests.api.test_bad_input import problem
from tests.written_documents import fault

WIDTH = 64  # of the model `demo`, which has 8 layers
ORIGIN = Origin("elsewhere", "LlamaForCausalLM")


def direction(seed: int, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(width).astype(np.float32)


def named(*layers: int, component: str = "residual", method: str = "probe") -> list[NamedVector]:
    return [NamedVector(direction(layer), layer, component, method, "response[:5]") for layer in layers]


def made(form: str, *layers: int, **labels: str) -> bytes:
    """A file of this format with a vector for each layer."""
    return write_vectors(form, named(*layers, **labels), ORIGIN)[0]


def npy(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def send(client: httpx2.Client, data: bytes, **fields: Any) -> httpx2.Response:
    """The file as a form."""
    return client.post("/v1/vectors", data={"model": "demo", **fields}, files=[("file", ("vectors.bin", data))])


def test_a_control_vector_becomes_one_unit_vector_a_layer(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    data, _, _ = write_vectors("gguf", named(1, 3, 7), ORIGIN)
    answer = send(ada, data, trait="refusal", method="their-pca", name="from the forum")
    assert answer.status_code == 201, answer.text
    items = answer.json()["items"]
    assert [(one["layer"], one["component"], one["method"], one["position"]) for one in items] == [
        (layer, "residual", "their-pca", None) for layer in (1, 3, 7)
    ]
    for one in items:
        sent = direction(one["layer"]).astype(np.float64)
        assert math.isclose(one["norm"], np.linalg.norm(sent), rel_tol=1e-12)
        assert (one["source"], one["extraction"], one["owner"], one["width"]) == ("imported", None, "ada", WIDTH)
        assert (one["trait"], one["name"], one["weight_hash"]) == ("refusal", "from the forum", "a" * 64)
        assert fault(ImportedFacts, one["facts"]) is None
        provenance = one["facts"]["provenance"]
        assert provenance["file_sha256"] == hashlib.sha256(data).hexdigest()
        assert (provenance["format"], provenance["tensor"]) == ("gguf", f"direction.{one['layer']}")
        assert "output of block N" in provenance["convention"]
        with sessions() as session:
            row = session.get_one(Vector, one["id"])
            stored = safetensors.numpy.load(api.context.storage.get(key_of(row.digest)))[row.key]
        np.testing.assert_allclose(stored, sent / np.linalg.norm(sent), atol=1e-7)
        assert stored.dtype == np.float32


def test_our_own_safetensors_keep_their_labels(ada: httpx2.Client) -> None:
    data, _, _ = write_vectors("safetensors", named(0, 2) + named(2, method="mean_diff_top1"), ORIGIN)
    body = {"model": "demo", "file": base64.b64encode(data).decode()}
    items = ada.post("/v1/vectors", json=body).json()["items"]
    assert sorted(one["key"] for one in items) == [
        "response[:5]/residual/mean_diff_top1/2", "response[:5]/residual/probe/0", "response[:5]/residual/probe/2",
    ]  # fmt: skip


@pytest.mark.parametrize(("array", "layers"), [(direction(1), "4"), (np.stack([direction(1), direction(2)]), "4, 6")])
def test_arrays_take_their_layers_from_the_request(ada: httpx2.Client, array: np.ndarray, layers: str) -> None:
    answer = send(ada, npy(array), layers=layers, component="mlp_contribution", position="response[ :5]", method="mine")
    items = answer.json()["items"]
    assert [one["key"] for one in items] == [f"response[:5]/mlp_contribution/mine/{layer.strip()}" for layer in layers.split(",")]


def test_the_same_import_again_finds_the_same_vectors_also_at_once(api: Running) -> None:
    data = npy(direction(5))
    key = api.key("ada")
    answers: list[httpx2.Response] = []

    def one() -> None:
        with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
            answers.append(send(client, data, layers="5"))

    threads = [threading.Thread(target=one) for _ in range(5)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
    assert len({answer.json()["items"][0]["id"] for answer in answers}) == 1
    with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
        assert send(client, data, layers="5", method="other").status_code == 201


def test_an_import_that_is_completed_and_shared_shares_all_of_its_vectors(api: Running) -> None:
    """Vectors that were still there from an earlier import kept the visibility they had."""
    data = safetensors.numpy.save({"layer_3": direction(1), "layer_5": direction(2)})
    with api.client("root", "admin") as client:
        first = send(client, data).json()["items"]
        assert client.delete(f"/v1/vectors/{first[0]['id']}").status_code == 200
        again = send(client, data, visibility="public")
        assert (again.status_code, {one["visibility"] for one in again.json()["items"]}) == (201, {"public"})
        assert first[1]["id"] in {one["id"] for one in again.json()["items"]}


def test_an_import_again_under_another_name_renames_its_vectors(ada: httpx2.Client) -> None:
    data = npy(direction(1))
    first = send(ada, data, layers="5", name="from the forum").json()["items"][0]
    for name, shown in (({"name": "mine"}, "mine"), ({}, "mine")):
        again = send(ada, data, layers="5", **name)
        [one] = again.json()["items"]
        assert (again.status_code, one["id"], one["name"]) == (200, first["id"], shown)
    assert ada.get(f"/v1/vectors/{first['id']}").json()["name"] == "mine"


def two_of_a_key() -> bytes:
    return safetensors.numpy.save({"layer3": direction(1), "layer_3": direction(2)})


GOOD = npy(direction(1))
BAD: list[tuple[str, bytes, dict[str, Any], str, str, str]] = [
    ("no vectors", b"hello", {}, "unreadable_vectors", "/file", "neither safetensors nor .npy nor GGUF"),
    ("empty file", b"", {}, "empty_file", "/file", "The file is empty."),
    ("blank file", b" \n", {}, "empty_file", "/file", "The file is empty."),
    ("empty file of a format", b"", {"format": "npy"}, "empty_file", "/file", "The file is empty."),
    ("pickle", npy(np.array([{}]), allow_pickle=True), {"vector_layers": "1"}, "unreadable_vectors", "/file", "pickles are never read"),
    (".pt", b"PK\x03\x04" + bytes(50), {"vector_layers": "1"}, "unreadable_vectors", "/file", "never read"),
    ("another format than said", GOOD, {"vector_layers": "1", "format": "gguf"}, "unreadable_vectors", "/file", "not a GGUF file"),
    ("NaN", npy(np.full(WIDTH, np.nan)), {"vector_layers": "1"}, "unreadable_vectors", "/file", "64 numbers that are NaN"),
    ("zero", npy(np.zeros(WIDTH)), {"vector_layers": "1"}, "unreadable_vectors", "/file", "zero everywhere"),
    ("cut off", GOOD[:-1], {"vector_layers": "1"}, "unreadable_vectors", "/file", "255 follow"),
    ("wrong width", npy(direction(1, 63)), {"vector_layers": "1"}, "wrong_width", "/file", "has 63 numbers; residual of demo has 64"),
    ("width of the stream for keys", npy(direction(1)), {"vector_layers": "1", "component": "k_proj"}, "wrong_width", "/file",
     "k_proj of demo has 16"),
    ("a component the model lacks", GOOD, {"vector_layers": "1", "component": "mlp_out"}, "unknown_component", "/file", "demo has residual"),
    ("wrong shape", npy(np.ones((1, 2, WIDTH))), {"vector_layers": "1"}, "unreadable_vectors", "/file", "the shape (1, 2, 64)"),
    ("layer past the end", GOOD, {"vector_layers": "8"}, "layer_out_of_range", "/vector_layers", "8 layers, 0 to 7"),
    ("layer past the end in the file", made("gguf", 9), {}, "layer_out_of_range", "/file", "The layer of direction.9 is 9"),
    ("negative layer", GOOD, {"vector_layers": "-1"}, "greater_than_equal", "/vector_layers", "0"),
    ("no layer", GOOD, {}, "missing_layer", "/vector_layers", "Give /vector_layers"),
    ("too many layers", GOOD, {"vector_layers": "1,2"}, "layers_do_not_match", "/vector_layers", "2 layers; the file holds 1 vector."),
    ("another layer than the file", made("gguf", 3), {"vector_layers": "4"}, "contradicts_file", "/vector_layers", "says 3"),
    ("another method than the file", made("safetensors", 3), {"method": "x"}, "contradicts_file", "/method", "'probe'"),
    ("two of a key", two_of_a_key(), {}, "duplicate_vector", "/file", "none/residual/imported/3"),
    ("unknown component", GOOD, {"vector_layers": "1", "component": "embedding"}, "literal_error", "/component", "residual"),
    ("unknown component in the file", made("safetensors", 3, component="embedding"), {}, "unknown_component", "/file", "embedding"),
    ("unknown position", GOOD, {"vector_layers": "1", "position": "answer[0]"}, "unknown_position", "/position", "frame[slice]"),
    ("bad method", GOOD, {"vector_layers": "1", "method": "a/b"}, "string_pattern_mismatch", "/method", "1 to 100 letters"),
    ("unknown model", GOOD, {"vector_layers": "1", "model": "other"}, "unknown_model", "/model", "This server allows: demo"),
    ("uninspected model", GOOD, {"vector_layers": "1", "model": "new"}, "model_not_inspected", "/model", "inspected"),
    ("unknown trait", GOOD, {"vector_layers": "1", "trait": "evil"}, "unknown_trait", "/trait", "refusal, sycophancy"),
    ("unknown field", GOOD, {"layer": "1"}, "unknown_field", "/layer", "does not take this field"),
    ("control character", GOOD, {"vector_layers": "1", "name": "\x1b"}, "invalid_characters", "/name", "U+001B"),
    ("too many", npy(np.ones((2001, WIDTH), np.float32)), {"vector_layers": "1"}, "unreadable_vectors", "/file", "2,001 rows; at most 2,000"),
]  # fmt: skip
"""What is wrong; the file; the form's fields; the code and pointer of its error; words of the detail."""


def test_each_bad_import_is_refused_and_nothing_stored(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    api.add_model("new", state="inspecting", facts={})
    for what, data, fields, code, pointer, words in BAD:
        found = problem(send(ada, data, **fields), 422)
        error = found["errors"][0]
        assert (error["code"], error["pointer"]) == (code, pointer), what
        assert words in found["detail"], (what, found["detail"])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Vector)) == 0


def test_bad_bodies_are_refused(api: Running, ada: httpx2.Client) -> None:
    def code(**body: Any) -> Any:
        return problem(ada.post("/v1/vectors", json=body), 422)["errors"][0]["code"]

    assert code(model="demo", file="not base64!") == "invalid_base64"
    assert code(model="demo") == "missing_field"
    assert code(model="demo", file="", layers=[1]) == "string_too_short"
    assert code(model="demo", file="AAAA", layers=[True]) == code(model="demo", file="AAAA", layers=["x"]) == "int_type"
    assert (
        problem(ada.post("/v1/vectors", data={"model": "demo"}, files=[("a", ("a", GOOD)), ("b", ("b", GOOD))]), 422)["code"]
        == "one_file"
    )
    large = base64.b64encode(bytes(5_000_000)).decode()
    assert problem(ada.post("/v1/vectors", json={"model": "demo", "file": large}), 413)
    with api.client("eve", "viewer") as eve:
        assert problem(send(eve, GOOD, layers="1"), 403)
    content = json.dumps({"model": "demo", "file": "AA=="})
    assert ada.post("/v1/vectors", content=content, headers={"Content-Type": "text/plain"}).status_code == 415
