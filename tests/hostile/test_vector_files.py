"""Uploaded vector files with false headers are refused in bounded memory. tests/exports/test_hostile_files.py tests their reader alone."""

import pickle

import httpx2
import pytest

from tests.api.process import ApiProcess
from tests.exports.test_hostile_files import GGUF, NPY, SAFETENSORS
from tests.hostile.conftest import MB, refused, watching

LIES = {"safetensors": SAFETENSORS, "npy": NPY, "gguf": GGUF}


@pytest.mark.parametrize("form", LIES)
def test_every_file_that_lies_is_refused_over_http(api: ApiProcess, ada: httpx2.Client, form: str) -> None:
    """With its format named, and with the format left to be found from the first bytes."""
    before = ada.get("/v1/vectors").json()
    with watching(api) as watch:
        for data, _ in LIES[form]:
            file = {"files": ("vectors", data)}
            for said in ({"format": form}, {}):
                refused(ada.post("/v1/vectors", data={"model": "demo", "layers": "1", **said}, files=file), 422)
    assert watch.grown < 128 * MB
    assert ada.get("/v1/vectors").json() == before


def test_a_pickle_is_refused_whatever_it_is_called(api: ApiProcess, ada: httpx2.Client) -> None:
    for name in ("v.pt", "v.npy", "v.safetensors", "v.gguf", "v.bin"):
        for form in ({}, {"format": "npy"}, {"format": "safetensors"}, {"format": "gguf"}):
            data = {"model": "demo", "layers": "1", **form}
            refused(ada.post("/v1/vectors", data=data, files={"files": (name, pickle.dumps([1.0]))}), 422)
