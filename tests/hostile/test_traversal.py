"""Paths in place of names, in addresses, bodies, names of uploaded files and inside files: none is read or written."""

from pathlib import Path
from urllib.parse import quote

import httpx2
import numpy as np
import pytest

from app.formats.tensorfile import to_bytes
from tests.api.process import ApiProcess
from tests.hostile.conftest import SECRET, refused
from tests.hostile.routes import address, operations, parameters

PATHS = (
    "..", ".", "../secret.txt", "../../secret.txt", "../" * 12 + "etc/passwd", "/etc/passwd", "//etc/passwd", "file:///etc/passwd",
    "..\\..\\secret.txt", "C:\\windows\\win.ini", "....//....//secret.txt", "..;/secret.txt", "~/secret.txt", "secret.txt\x00.json", "\x00",
    "．．／secret.txt", "%252e%252e%252fsecret.txt", "..%c0%afsecret.txt", "job_" + "0" * 26 + "/../../readyz",
    "a" * 5000, "*", "%", "$HOME", "`id`", "|id", "{job_id}", "<script>alert(1)</script>", "' OR 1=1 --", "CON", "\r\nX-Injected: 1",
)  # fmt: skip
PLACES = [(method, path, name) for method, path, _ in operations() for name in parameters(path)]


@pytest.mark.parametrize(("method", "path", "name"), PLACES, ids=[f"{method} {path} {name}" for method, path, name in PLACES])
def test_a_path_in_an_address_leads_to_no_file(api: ApiProcess, admin: httpx2.Client, method: str, path: str, name: str) -> None:
    """Each path once percent-encoded as a whole, and once as it is, as far as the client sends it."""
    for value in PATHS:
        for written in dict.fromkeys((quote(value, safe=""), quote(value, safe="/.%;\\"))):
            answer = admin.request(method, address(path, **{name: written or "x"}))
            assert SECRET not in answer.text
            assert "root:" not in answer.text
            assert "X-Injected" not in answer.headers
            if answer.status_code >= 300:
                refused(answer)
            else:
                # the client itself shortens some to an ordinary address, and CON is a name like any other
                assert "/../" in value or value in ("..", ".", "CON"), value


def tree(folder: Path) -> set[Path]:
    """Everything below the data folder except stored objects (named by hash) and the log."""
    return {path for path in folder.rglob("*") if "sha256" not in path.parts and path.name != "api.log"}


@pytest.mark.parametrize("name", [one for one in PATHS if one not in ("..", ".", "\x00")])
def test_the_name_of_an_uploaded_file_is_no_path(api: ApiProcess, ada: httpx2.Client, name: str) -> None:
    """A trait's files have fixed names; any other is refused, and nothing is written."""
    before = tree(api.settings.home)
    good = {"positive.txt": b"a\nb\n", "negative.txt": b"c\nd\n", "steering.json": b'["e","f"]'}
    files = [*good.items(), (name, b"evil")]
    refused(ada.post("/v1/traits", data={"name": "x"}, files=[("files", one) for one in files]))
    assert tree(api.settings.home) == before


def test_the_folder_in_the_name_of_an_uploaded_file_is_ignored(api: ApiProcess, ada: httpx2.Client) -> None:
    """Browsers send such names when a folder is chosen."""
    before = tree(api.settings.home)
    files = {"../../positive.txt": b"a\nb\n", "/etc/negative.txt": b"c\nd\n", "x\\steering.json": b'["e","f"]'}
    made = ada.post("/v1/traits", data={"name": "paths"}, files=[("files", one) for one in files.items()])
    assert made.status_code == 201, made.text
    assert tree(api.settings.home) == before


@pytest.mark.parametrize("name", [one for one in PATHS if one != "CON"])
def test_no_name_in_a_body_is_a_path(api: ApiProcess, admin: httpx2.Client, name: str) -> None:
    """Names of traits, models, judges, methods and positions become parts of file names in exports."""
    rows = {"positive": ["a", "b"], "negative": ["c", "d"], "steering": {"questions": ["e", "f"]}}
    refused(admin.post("/v1/traits", json={"name": name, **rows}), 422)
    refused(admin.post("/v1/models", json={"name": name, "source": "/models/x"}), 422)
    refused(admin.post("/v1/judges", json={"name": name, "kind": "openai", "model": "m", "url": "http://j.example/v1"}), 422)
    for field in ("model", "trait"):
        body = {"model": "demo", "trait": "refusal", field: name}
        for path in ("/v1/extractions", "/v1/steerings"):
            refused(admin.post(path, json=body), 422)
    refused(admin.post("/v1/extractions", json={"model": "demo", "trait": "refusal", "positions": [name]}), 422)
    refused(admin.post("/v1/extractions", json={"model": "demo", "trait": "refusal", "methods": [name]}), 422)
    file = {"files": ("v.npy", vectors())}
    for field in ("position", "trait", "component", "method"):
        if field == "method" and name in ("..", "."):
            continue  # a label of dots names no file: downloads are called by the vector's id
        refused(admin.post("/v1/vectors", data={"model": "demo", "layers": "1", field: name}, files=file), 422)


def vectors() -> bytes:
    """One vector as .npy."""
    import io

    out = io.BytesIO()
    np.save(out, np.ones(64, np.float32))
    return out.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        "..",
        "../x",
        "models/../../x/y",
        "x",
        "./x/y",
        "file:///x",
        "\\\\host\\share",
        "https://h/x",
        "a/../b",
        "-/x",
        "../../x",
        "a/b/c",
    ],
)
def test_a_models_source_is_an_absolute_folder_or_a_hub_id(api: ApiProcess, admin: httpx2.Client, source: str) -> None:
    refused(admin.post("/v1/models", json={"name": "m", "source": source, "revision": "0" * 40}), 422)


@pytest.mark.parametrize("label", ["..", "CON", "a.b-c_d"])
def test_a_download_is_called_by_its_id_whatever_the_vector_calls_itself(api: ApiProcess, ada: httpx2.Client, label: str) -> None:
    data = to_bytes({"../../x": np.arange(1, 65, dtype=np.float32)}, {})
    made = ada.post(
        "/v1/vectors", data={"model": "demo", "layers": "1", "method": label, "name": "../../x"}, files={"files": ("../x", data)}
    )
    assert made.status_code in (200, 201), made.text
    [row] = made.json()["items"]
    for form in ("safetensors", "npy", "gguf"):
        answer = ada.get(f"/v1/vectors/{row['id']}/download", params={"format": form})
        assert answer.status_code == 200
        assert f'filename="{row["id"]}.{form}"' in answer.headers["Content-Disposition"]
