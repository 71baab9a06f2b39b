"""A download leaves the complete, verified file or no file, and continues where a broken connection left it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.jobs import endings
from binnacle import BinnacleError, Client, CorruptDownload, ServiceError
from tests.api import lives
from tests.api.conftest import Running
from tests.client.wire import Wire, cut_after, flipped_bytes

DATA = json.dumps({"aggregate": {"numbers": list(range(60_000))}}).encode()


@pytest.fixture
def job(client: Client, api: Running, sessions: sessionmaker[Session]) -> dict[str, Any]:
    """A finished calibration with a file of about 400 kB."""
    job = client.calibrate("demo")
    lives.succeed(sessions, api.context.storage, lives.claim(sessions), data=DATA)
    return client.job(job)


def test_the_file_arrives_unchanged_in_a_folder_or_at_a_path(client: Client, job: dict[str, Any], tmp_path: Path) -> None:
    [artifact] = job["artifacts"]
    into = client.download(artifact, tmp_path)
    assert into == tmp_path / "calibration.json"
    assert into.read_bytes() == DATA
    assert client.download(artifact, tmp_path / "new" / "other.json").read_bytes() == DATA
    assert client.download(artifact["href"], f"{tmp_path}/by-path/").read_bytes() == DATA
    assert client.download_all(job, tmp_path / "all") == [tmp_path / "all" / "calibration.json"]
    assert list(tmp_path.rglob("*.part")) == []


def test_without_a_folder_each_job_has_one_of_its_own(
    client: Client, job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert client.download_all(job["id"]) == [Path(job["id"]) / "calibration.json"]
    assert [path.name for path in tmp_path.iterdir()] == [job["id"]]


def test_files_of_other_content_are_replaced_only_when_told_to(
    client: Client, job: dict[str, Any], api: Running, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """All files are checked before the first is written, and an equal file stays."""
    [path] = client.download_all(job, tmp_path)
    written = path.stat().st_mtime_ns
    assert client.download_all(job, tmp_path) == [path]
    other = client.calibrate("demo", max_new_tokens=3)["id"]
    lease, blob = lives.claim(sessions), lives.stage(sessions, api.context.storage, b"{}")
    files = [(name, "application/json", blob) for name in ("another.json", path.name)]
    with sessions.begin() as session:
        endings.succeed(session, other, lease.token, {"calibration": lives.SUMMARY}, files, metrics={})
    [artifact] = [one for one in client.job(other)["artifacts"] if one["name"] == path.name]
    for refused in (
        lambda: client.download_all(other, tmp_path),
        lambda: client.download(artifact, tmp_path),
        lambda: client.download(artifact["href"], path),
    ):
        with pytest.raises(BinnacleError, match=r"file_exists: .*calibration.json holds other content.*--overwrite"):
            refused()
    assert ([*tmp_path.iterdir()], path.stat().st_mtime_ns) == ([path], written)
    assert len(client.download_all(other, tmp_path, overwrite=True)) == 2
    assert path.read_bytes() == b"{}"


def test_the_calibration_is_found_by_its_id_and_by_its_job(client: Client, job: dict[str, Any]) -> None:
    assert client.calibration(job["id"]) == json.loads(DATA)
    calibration = job["result"]["calibration"]["id"]
    assert client.calibration(calibration) == json.loads(DATA)
    assert client.job_of(calibration) == job["id"]


def test_a_broken_download_fetches_only_what_is_missing(far: Client, wire: Wire, job: dict[str, Any], tmp_path: Path) -> None:
    wire.faults = [cut_after(100_000), cut_after(150_000)]
    path = far.download(job["artifacts"][0], tmp_path)
    assert path.read_bytes() == DATA
    asked = [connection.said.split(b"\r\n\r\n")[0].lower() for connection in wire.connections]
    assert [b"range: bytes=" in request for request in asked] == [False, True, True]


def test_patience_counts_from_the_last_bytes(wire: Wire, key: str, job: dict[str, Any], tmp_path: Path) -> None:
    """Each interruption is followed by bytes; together they last longer than the client's patience."""
    wire.faults = [cut_after(40_000 + 10_000 * place) for place in range(6)]
    with Client(wire.url, key, patience=0.25) as client:
        assert client.download(job["artifacts"][0], tmp_path).read_bytes() == DATA
    assert len(wire.connections) == 7


def test_a_later_call_resumes_the_part_file_of_an_earlier_one(
    api: Running, key: str, wire: Wire, job: dict[str, Any], tmp_path: Path
) -> None:
    """The name of the part file holds the digest of the whole file."""
    digest = hashlib.sha256(DATA).hexdigest()
    part = tmp_path / f".calibration.json.{digest[:16]}.part"
    part.write_bytes(DATA[:300_000])
    with Client(wire.url, key) as client:
        assert client.download(job["artifacts"][0], tmp_path).read_bytes() == DATA
    assert b"range: bytes=300000-" in wire.connections[0].said.lower()
    (tmp_path / "calibration.json").unlink()
    part.write_bytes(DATA)  # complete: only the digest is left to check
    with Client(wire.url, key) as client:
        assert client.download(job["artifacts"][0], tmp_path).read_bytes() == DATA


def test_wrong_bytes_are_never_kept(far: Client, wire: Wire, job: dict[str, Any], tmp_path: Path) -> None:
    wire.faults = [flipped_bytes()]
    with pytest.raises(CorruptDownload, match="SHA-256"):
        far.download(job["artifacts"][0], f"{tmp_path}/to/")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_name_cannot_lead_out_of_the_folder(client: Client, job: dict[str, Any], tmp_path: Path) -> None:
    crafted = {**job["artifacts"][0], "name": "../../etc/calibration.json"}
    assert client.download(crafted, tmp_path) == tmp_path / "calibration.json"


def test_the_key_is_sent_to_no_other_host(client: Client, job: dict[str, Any], wire: Wire, tmp_path: Path) -> None:
    crafted = {**job["artifacts"][0], "href": f"{wire.url}{job['artifacts'][0]['href']}"}
    with pytest.raises(CorruptDownload, match="sent"):
        client.download(crafted, tmp_path)
    assert wire.connections == []


def test_a_missing_file_raises_not_found_and_leaves_nothing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not_found"):
        client.download("/v1/calibrations/cal_00000000000000000000000000/calibration.json", f"{tmp_path}/to/")
    assert list((tmp_path / "to").iterdir()) == []
