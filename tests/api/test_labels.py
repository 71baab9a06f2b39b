"""Experiment and model variant: submitted with a job, kept with its result, usable as filters; a label is never a path."""

from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import Running
from tests.api.lives import SUMMARY, claim, succeed
from tests.counting import statements


@pytest.mark.parametrize("label", ["..", ".", ".hidden", "a/b", "-x", "", "a\n"])
@pytest.mark.parametrize("field", ["experiment", "model_variant"])
def test_a_label_is_the_name_of_one_folder(ada: httpx2.Client, field: str, label: str) -> None:
    for route, body in (("calibrations", {"model": "demo"}), ("extractions", {"model": "demo", "trait": "refusal"})):
        answer = ada.post(f"/v1/{route}", json={**body, field: label})
        assert answer.status_code == 422, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]


def test_labels_filter_lists_and_an_unnamed_variant_is_read_from_the_file(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    named = calibrated(api, ada, sessions, {"experiment": "e", "model_variant": "base"}, {})
    unnamed = calibrated(api, ada, sessions, {"experiment": "e"}, {"model_variant": "chat"})
    extraction = ada.post(
        "/v1/extractions", json={"model": "demo", "trait": "refusal", "experiment": "e", "model_variant": "base"}
    ).json()
    assert extraction["spec"]["model_variant"] == "base"

    def jobs(route: str, key: str, **filters: str) -> list[str]:
        return [one[key] for one in ada.get(f"/v1/{route}", params=filters).json()["items"]]

    assert jobs("calibrations", "job", experiment="e") == [unnamed, named]
    assert jobs("calibrations", "job", experiment="e", model_variant="chat") == [unnamed]
    assert jobs("calibrations", "job", model_variant="base") == [named]
    assert jobs("calibrations", "job", experiment="other") == []
    assert jobs("jobs", "id", experiment="e", model_variant="base") == [extraction["id"], named]
    assert jobs("jobs", "id", kind="calibrate", experiment="e") == [unnamed, named]
    shown = ada.get(f"/v1/calibrations/{unnamed}").json()
    assert (shown["experiment"], shown["model_variant"]) == ("e", "chat")
    side_by_side = ada.post(f"/v1/calibrations/{named}/exports", json={"beside": [unnamed]})
    assert side_by_side.status_code == 202, side_by_side.text
    assert [one["job"] for one in side_by_side.json()["spec"]["calibrations"]] == [named, unnamed]
    by_id = ada.get(f"/v1/calibrations/{named}").json()["id"]
    for twice in ([by_id], [unnamed, by_id]):
        again = ada.post(f"/v1/calibrations/{named}/exports", json={"beside": twice}).json()
        assert (again["errors"][0]["code"], again["errors"][0]["pointer"]) == (
            "duplicate_calibration",
            f"/beside/{len(twice) - 1}",
        )
        assert again["detail"].endswith(f"{by_id} is named twice. Name it once.")
    missing = ada.post(f"/v1/calibrations/{named}/exports", json={"beside": [unnamed, "cal_" + "0" * 26]}).json()
    assert (missing["errors"][0]["code"], missing["errors"][0]["pointer"]) == ("not_found", "/beside/1")


def test_calibrations_beside_another_are_looked_up_together(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """By their own ids and by their jobs' ids."""
    first, *jobs = [calibrated(api, ada, sessions, {"experiment": "e", "model_variant": f"v{i}"}, {}) for i in range(6)]
    beside = [*jobs[:2], *(ada.get(f"/v1/calibrations/{job}").json()["id"] for job in jobs[2:])]
    sent: dict[int, int] = {}
    for count in (1, 5):
        with statements() as noted:
            made = ada.post(f"/v1/calibrations/{first}/exports", json={"beside": beside[:count]})
        assert [one["job"] for one in made.json()["spec"]["calibrations"]] == [first, *jobs[:count]]
        sent[count] = sum("FROM calibrations" in one or "FROM jobs" in one for one in noted)  # not those about the key
    assert sent[1] == sent[5], sent


def calibrated(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], labels: dict[str, Any], found: dict[str, Any]
) -> str:
    """The job of a finished calibration with these labels, and with `found` in its file's summary."""
    job = ada.post("/v1/calibrations", json={"model": "demo", **labels})
    assert job.status_code == 202, job.text
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": SUMMARY | found})
    return str(job.json()["id"])
