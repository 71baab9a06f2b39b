"""Light workers download models from a hub with progress, resume and check them, report every refusal, and then inspect them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from app.auth.viewer import Viewer
from app.jobs.models import Job
from app.jobs.submission import Asker
from app.models import service as models
from app.models.models import Model
from app.models.schemas import ModelRequest
from tests.ml.tiny_models import tiny_model_folder
from tests.worker.conftest import Node, Service
from tests.worker.hub import COMMIT, REPOSITORY, Hub
from workers.handlers.download import said_plainly
from workers.job import TransientFault
from workers.lm.errors import ModelFault
from workers.lm.hub import fetched_folder
from workers.lm.hubfiles import look_up

pytestmark = pytest.mark.timeout(1200)
ROOT = Viewer("root", "admin")
MB = 1 << 20
TOKEN = "hf_a_token_nobody_may_see"


@pytest.fixture
def live(make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str) -> Service:
    """A service with leases that outlast the import of torch, with which an inspection begins, on a busy machine."""
    return make_service(database_url, broker_url, broker_prefix, ttl=30, margin=5)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with a model of about 50 MB; the hub's client reads it in chunks of 10 MB."""
    folder = tiny_model_folder(tmp_path, "llama", hidden_size=512, intermediate_size=1536, head_dim=128)
    made = Hub(folder)
    made.extra = {"pytorch_model.bin": b"a pickle", "onnx/model.onnx": b"x", "README.md": b"#"}
    yield made
    made.close()


@pytest.fixture
def node(live: Service, hub: Hub, tmp_path: Path) -> Callable[..., Node]:
    """A function that starts a light worker which uses `hub` and an empty model store."""

    def start(**environment: str) -> Node:
        own = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "BINNACLE_HUB_CACHE": str(tmp_path / "store")}
        return live.node("light-0", **{**own, **environment})

    return start


def test_a_model_without_a_commit_is_refused_and_the_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match=r"not_downloaded.*without a commit") as found:
        fetched_folder(REPOSITORY, None, tmp_path / "store")
    assert f"model store ({tmp_path / 'store'})" in found.value.sentence


def register(live: Service, revision: str = COMMIT, source: str = REPOSITORY) -> tuple[str, str]:
    """Registers the model `tiny`; returns the ids of its download and its inspection."""
    request = ModelRequest(name="tiny", source=source, revision=revision)
    with live.sessions.begin() as session:
        inspect = models.register(session, Asker(ROOT, live.settings), request)
    [download] = inspect.waiting_for
    return download, inspect.id


def model(live: Service) -> Model:
    with live.sessions() as session:
        return session.get_one(Model, "tiny")


def test_a_model_is_downloaded_with_progress_in_bytes_and_then_inspected(
    live: Service, hub: Hub, node: Callable[..., Node], tmp_path: Path
) -> None:
    """Only safetensors, configs and tokenizer files are fetched."""
    hub.slowly = 0.3
    node()
    download, inspect = register(live)
    seen: set[int] = set()

    def progressing() -> bool:
        job = live.job(download)
        if job.phase == "downloading":
            seen.add(job.progress_done)
        if len(seen) >= 3:
            hub.slowly = 0.0
        return job.state == "succeeded"

    live.until(progressing, "the download", seconds=240)
    job = live.job(download)
    wanted = {name: data for name, data in hub.files.items() if name != "README.md"}
    total = sum(map(len, wanted.values()))
    assert len(seen) >= 3, "progress was seen to grow"
    assert (job.progress_done, job.progress_total, job.progress_unit) == (total, total, "bytes")
    assert job.result["download"] == {
        "source": REPOSITORY, "revision": COMMIT, "files": len(wanted), "bytes": total, "fetched_bytes": total,
    }  # fmt: skip
    snapshot = tmp_path / "store" / "models--lab--tiny" / "snapshots" / COMMIT
    assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == wanted
    assert live.ended(inspect, 240).state == "succeeded"
    assert (model(live).proving, model(live).facts["layers"]) == (True, 4)


@pytest.mark.long
def test_files_in_the_store_are_not_fetched_again(live: Service, hub: Hub, node: Callable[..., Node]) -> None:
    node()
    download, inspect = register(live)
    live.cancel(inspect)
    assert live.ended(download, 240).state == "succeeded"
    before = len(hub.requests("cdn"))
    with live.sessions.begin() as session:
        again = models.inspect(session, Asker(ROOT, live.settings), "tiny")
    live.cancel(again.id)
    [second] = again.waiting_for
    assert live.ended(second, 240).result["download"]["fetched_bytes"] == 0
    assert len(hub.requests("cdn")) == before


def test_a_killed_download_resumes_where_it_was(live: Service, hub: Hub, node: Callable[..., Node]) -> None:
    """The client library of the hub would begin again."""
    hub.slowly = 0.3
    first = node()
    download, _ = register(live)
    live.until(lambda: live.job(download).progress_done > 10 * MB, "ten megabytes", seconds=240)
    first.kill()
    hub.slowly = 0.0
    node()
    job = live.ended(download, 240)
    assert job.state == "succeeded"
    ranges = [headers["Range"] for headers in hub.requests("cdn") if "Range" in headers]
    assert len(ranges) == 1
    assert int(ranges[0][6:-1]) >= 10 * MB
    assert job.result["download"]["fetched_bytes"] <= job.progress_total - 10 * MB


@pytest.mark.long
def test_a_download_resumes_after_a_broken_connection(live: Service, hub: Hub, node: Callable[..., Node]) -> None:
    hub.break_after = 25 * MB
    node()
    download, _ = register(live)
    assert live.ended(download, 240).state == "succeeded"
    first, second = hub.requests("cdn")
    assert "Range" not in first
    assert int(second["Range"][6:-1]) == 20 * MB  # whole chunks of 10 MB of the 25


def test_a_file_with_the_wrong_hash_is_dropped(live: Service, hub: Hub, node: Callable[..., Node], tmp_path: Path) -> None:
    """Its size is right, so only the hash shows it."""
    hub.lie = True
    node()
    download, inspect = register(live)
    job = live.ended(download, 240)
    assert (job.state, job.error["code"]) == ("failed", "corrupt_download")
    assert live.ended(inspect).error["code"] == "dependency_failed"
    assert model(live).state == "faulty"
    assert not list((tmp_path / "store").rglob("*.part"))
    hub.lie = False
    retried = live.retry(download)
    assert live.ended(retried, 240).state == "succeeded"
    live.until(lambda: model(live).proving, "the inspection that follows a retried download", 240)


def test_the_token_goes_only_to_the_hub_and_into_no_log_or_row(
    live: Service, hub: Hub, node: Callable[..., Node], tmp_path: Path
) -> None:
    hub.token = TOKEN
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    started = node(BINNACLE_HUB_TOKEN_FILE=str(tmp_path / "token"))
    download, _ = register(live)
    assert live.ended(download, 240).state == "succeeded"
    asked = [headers for headers in hub.requests("hub") if REPOSITORY in headers["Path"]]
    assert {headers.get("Authorization") for headers in asked} == {f"Bearer {TOKEN}"}
    assert hub.requests("cdn")
    assert not any("Authorization" in headers for headers in hub.requests("cdn"))
    assert TOKEN not in started.log.read_text()
    assert "signature=secret" not in started.log.read_text()
    row = live.job(download)
    assert TOKEN not in str([row.spec, row.result, row.metrics, [event.data for event in live.events(download)]])


def failure(live: Service, **registered: str) -> Job:
    """The failed download of a model; checks that its inspection fails too and that the model shows the reason."""
    download, inspect = register(live, **registered)
    job = live.ended(download, 240)
    assert job.state == "failed"
    assert live.ended(inspect).error["code"] == "dependency_failed"
    assert job.error["detail"].split(".")[0] in model(live).fault["detail"]
    return job


def test_a_model_that_needs_a_token_says_how_an_administrator_gives_one(
    live: Service, hub: Hub, node: Callable[..., Node]
) -> None:
    hub.token = TOKEN
    node()
    error = failure(live).error
    assert error["code"] == "hub_denied"
    assert "BINNACLE_HUB_TOKEN_FILE" in error["detail"]


@pytest.mark.long
def test_a_missing_commit_is_named(live: Service, node: Callable[..., Node]) -> None:
    node()
    error = failure(live, revision="f" * 40).error
    assert error["code"] == "hub_not_found"
    assert "does not have this commit" in error["detail"]


def test_a_model_too_large_for_the_disk_is_refused_before_any_download(
    live: Service, hub: Hub, node: Callable[..., Node]
) -> None:
    """The hub claims that the file has 2^60 bytes, and the error shows the arithmetic."""
    told = hub.metadata()
    for sibling in told["siblings"]:
        if sibling["rfilename"] == "model.safetensors":
            sibling["size"] = sibling["lfs"]["size"] = 1 << 60
    hub.metadata = lambda: told  # type: ignore[method-assign]
    node()
    error = failure(live).error
    assert error["code"] == "disk_too_small"
    assert "1,073,741,824.0" in error["detail"]
    assert "+ 1.00 GiB that must stay free" in error["detail"]
    assert error["facts"]["missing_bytes"] >= 1 << 60
    assert hub.requests("cdn") == []


@pytest.mark.long
def test_a_hub_that_is_down_defers_the_download(live: Service, hub: Hub, node: Callable[..., Node]) -> None:
    hub.status = 503
    node()
    download, _ = register(live)
    live.until(lambda: "deferred" in live.event_types(download), "the download to be put off", seconds=240)
    hub.status = None
    assert live.ended(download, 240).state == "succeeded"


@pytest.mark.long
def test_a_cancelled_download_stops_and_keeps_its_part_file(
    live: Service, hub: Hub, node: Callable[..., Node], tmp_path: Path
) -> None:
    hub.slowly = 0.3
    node()
    download, _ = register(live)
    live.until(lambda: live.job(download).progress_done > 10 * MB, "ten megabytes", seconds=240)
    live.cancel(download)
    assert live.ended(download).state == "cancelled"
    [partial] = (tmp_path / "store").rglob("*.part")
    assert partial.stat().st_size >= 10 * MB


@pytest.mark.long
def test_an_offline_server_says_what_to_do_instead(live: Service, node: Callable[..., Node]) -> None:
    node(HF_HUB_OFFLINE="1")
    assert failure(live).error["code"] == "hub_offline"


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>Log in first</html>", {"Content-Type": "text/html"}, "JSONDecodeError"),
        (200, b"not gzip", {"Content-Encoding": "gzip"}, "DecodingError"),
        (302, b"", {"Location": "/api/models/lab/tiny"}, "TooManyRedirects"),
    ],
    ids=["a page of a proxy", "a broken encoding", "a circle of redirects"],
)
def test_an_answer_that_does_not_come_from_the_hub_defers_the_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, headers: dict[str, str], said: str
) -> None:
    """Such answers must not count as internal errors of the worker."""
    hub.status, hub.body, hub.headers = status, body, headers
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(TransientFault, match=said), said_plainly(REPOSITORY):
        look_up(REPOSITORY, COMMIT, token=None)
