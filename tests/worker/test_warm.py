"""The child of a model node imports torch some seconds after its start; the child of a light node never does."""

import threading

import pytest

from workers import warm


@pytest.mark.parametrize(("job_class", "after", "imports"), [("model", 3, True), ("light", 0.3, False)])
def test_only_the_child_of_a_model_node_imports_torch_and_only_after_a_while(
    monkeypatch: pytest.MonkeyPatch, job_class: str, after: float, imports: bool
) -> None:
    imported = threading.Event()
    monkeypatch.setenv("BINNACLE_WORKER_CLASS", job_class)
    monkeypatch.setattr(warm, "import_models", imported.set)
    monkeypatch.setattr(warm, "SECONDS", after)
    warm.import_later()
    assert not imported.is_set(), "the API needs the cores first"
    assert imported.wait(60 if imports else 1) is imports
