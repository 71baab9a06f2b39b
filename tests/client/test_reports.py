"""What the command line prints of answers and of a steering: grouped by prompt, controls named, the gain with its interval, and `not scored`
where nothing was scored; and what a demo prints at its end."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.cli.demo import calibrations, show
from app.jobs.measures import with_names
from binnacle import Client
from binnacle.cli.answers import answers_report, control_warnings
from binnacle.cli.gains import steering_report
from binnacle.cli.output import out
from binnacle.cli.tables import study_report
from tests.api.conftest import Running
from tests.api.finishing import finish_everything
from tests.api.lives import claim, fail
from tests.contract.contents import STUDY
from tests.reports.gathering import summary as stored_summary
from workers.steering.outcome import short_summary


def answer(prompt: str, dose: float | None) -> dict[str, Any]:
    """An answer of a generation, as the service sends it; unsteered without a dose."""
    return {
        "prompt": prompt, "system_prompt": None, "dose": dose, "coefficient": dose, "vector": None if dose is None else "vec_x",
        "text": f"{prompt} at {dose}", "finite": True,
    }  # fmt: skip


def test_answers_are_grouped_by_prompt_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    answers: Any = [answer(prompt, dose) for dose in (None, 0.5) for prompt in ("a", "b")]
    out.print(answers_report(answers))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if len(line) == 1] == ["a", "b"]
    assert [line.rpartition(": ")[2] for line in lines if len(line) > 1] == ["a at None", "a at 0.5", "b at None", "b at 0.5"]


def test_a_warning_names_vectors_that_are_controls() -> None:
    vectors: Any = [
        {"id": f"vec_{n}", "method": method, "trait": "refusal"}
        for n, method in enumerate(("probe", "shuffled__of-probe", "randomness"))
    ]
    [warning] = control_warnings(vectors)
    assert warning == "vec_1 is a control (shuffled__of-probe), not a vector of refusal."


def test_a_steering_is_shown_with_its_gain_and_interval(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"group": "response[:5]/residual/probe", "layers": [2], "dose": 0.6, "coefficient": 22.368, "coherence": 94.93}
    measured = {**found, "gain": 92.19, "gain_low": 85.6, "gain_high": 96.37}
    nothing = {
        **found,
        "group": "lda",
        "dose": None,
        "coefficient": None,
        "coherence": None,
        "gain": None,
        "gain_low": None,
        "gain_high": None,
    }
    summary: dict[str, Any] = {
        "methods": [measured, nothing],
        "questions": {"test": {"n": 72, "clusters": 36}},
        "unsteered": {"test": {"trait": 0.28, "coherence": 99.79}},
    }
    steering: Any = {"summary": summary, "trait": "refusal", "model": "demo", "judge": "reference"}
    out.print(steering_report(steering))
    said = capsys.readouterr().out
    assert "+92.2" in said
    assert "[+85.6, +96.4]" in said
    assert "72 held-out questions (36 clusters)" in said
    judged = (
        "by the judge reference. Its accuracy on held-out responses was not measured. Unsteered: 0.28 of 100, coherence 99.79."
    )
    assert judged in " ".join(said.split())
    summary["unsteered"] = {"test": {"trait": None, "coherence": None}}
    out.print(steering_report(steering))
    assert "Unsteered: not scored, coherence not scored." in " ".join(capsys.readouterr().out.split())


def test_layers_that_are_steered_together_are_shown_with_a_coefficient_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Such a steering could not be shown at all."""
    stored: Any = stored_summary({"probe": (20.0, 10.0, 30.0)}, {}) | {"judge_facts": {}}
    [group] = stored["groups"]
    group |= {"layers": [2, 3], "best": group["best"] | {"c": [10.0, 12.5]}}
    steering: Any = {"summary": with_names(short_summary(stored)), "trait": "refusal", "model": "demo", "judge": "reference"}
    out.print(steering_report(steering))
    [row] = [line for line in capsys.readouterr().out.splitlines() if "probe" in line]
    assert "2, 3" in row
    assert "10, 12.5" in row


def test_no_limit_is_shown_as_0_or_as_10_points_that_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """A verdict depends on the side on which it lies."""
    stored: Any = stored_summary({"probe": (20.0, 0.04, 30.0)}, {}) | {"judge_facts": {}}
    steering: Any = {"summary": with_names(short_summary(stored)), "trait": "refusal", "model": "demo", "judge": "reference"}
    out.print(steering_report(steering))
    assert "[+0.04, +30.0]" in capsys.readouterr().out
    row = {"model": "m", "trait": "refusal", "method": "probe", "at_dose": 5.0, "at_dose_low": 0.3, "at_dose_high": 9.8}
    table = {"id": "methods", "rows": [row], "note": ""}
    severity = {"id": "severity", "rows": [{"model": "m", "verdict": "none", "dims": [], "ratio_to_median": 2.0}]}
    tables: Any = {"tables": [severity, table], "recommendations": []}
    out.print(study_report(tables))
    assert "+5.0 [+0.3, +9.8]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tells_apart", "doubt"), [(True, ""), (False, "Not enough evidence: this judge cannot tell the classes apart.")]
)
def test_a_steering_is_shown_with_what_its_judge_tells_apart_and_with_questions_not_scored(
    capsys: pytest.CaptureFixture[str], tells_apart: bool, doubt: str
) -> None:
    stored: Any = stored_summary({"probe": (20.0, 10.0, 30.0), "mean_diff": (9.0, 1.0, 17.0)}, {})
    told = {"accuracy": 0.72, "low": 0.62, "high": 0.81, "clusters": 61, "n": 120}
    stored["judge_facts"] = {"held_out_accuracy": 0.72, "held_out": told, "tells_apart": tells_apart}
    stored["unsteered"]["test"]["spread"] = {"min": 57.0, "p10": 60.0, "median": 77.7, "p90": 95.0, "max": 99.0}
    for group, n in zip(stored["groups"], (60, 41), strict=True):
        group["best"]["scored"] = {"n": n, "clusters": n // 2}
    steering: Any = {"summary": with_names(short_summary(stored)), "trait": "refusal", "model": "demo", "judge": "reference"}
    out.print(steering_report(steering))
    said = " ".join(capsys.readouterr().out.split())
    assert f"{doubt} It classifies 72 % [62, 81] of held-out responses correctly (61 clusters; 50 % is chance).".strip() in said
    assert "Unsteered answers score 57 to 99, median 77.7, 80 % of them 60 to 95." in said
    assert said.endswith("Scored fewer than asked: response[:5]/residual/mean_diff 41 questions (20 clusters).")


def test_a_steering_is_shown_with_the_methods_that_have_no_gain(capsys: pytest.CaptureFixture[str]) -> None:
    stored: Any = stored_summary({"probe": (20.0, 10.0, 30.0)}, {}) | {"judge_facts": {}}
    stored["subjects"] = [{"name": "lda", "group": "lda", "same_as": None, "stopped": "incoherent down to r = 0.05"}]
    steering: Any = {"summary": with_names(short_summary(stored)), "trait": "refusal", "model": "demo", "judge": "reference"}
    out.print(steering_report(steering))
    assert " ".join(capsys.readouterr().out.split()).endswith("No gain of lda: incoherent down to r = 0.05.")


def test_a_steering_is_shown_with_every_reason_why_it_has_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """In the words of its page, the judge's reason first."""
    stored: Any = stored_summary({"probe": (20.0, 10.0, 30.0)}, {})
    told = {"accuracy": 0.66, "low": 0.55, "high": 0.76, "clusters": 61, "n": 120}
    stored["judge_facts"] = {"held_out_accuracy": 0.66, "held_out": told, "tells_apart": False}
    stored["questions"]["test"] = {"n": 12, "clusters": 12}
    steering: Any = {"summary": with_names(short_summary(stored)), "trait": "refusal", "model": "demo", "judge": "reference"}
    out.print(steering_report(steering))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Not enough evidence: this judge cannot tell the classes apart. It classifies 66 % [55, 76] of held-out responses correctly "
        "(61 clusters; 50 % is chance). Too few questions, too: 12 question clusters, 20 needed. "
        "A verdict needs another judge and scored held-out questions in 20 clusters."
    ) in said


def test_a_demo_names_the_model_that_could_not_be_calibrated(
    client: Client, api: Running, sessions: sessionmaker[Session], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study succeeds all the same: its report needs only the end of the calibrations."""
    study = client.submit("study", **(STUDY | {"models": ["demo"]}))["id"]
    calibration = next(node["job"] for node in client.nodes(study).values() if node["kind"] == "calibrate")
    lease = claim(sessions)
    assert lease.job.id == calibration
    fail(sessions, lease)
    finish_everything(sessions, api.context.storage)
    assert client.job(study)["state"] == "succeeded"
    calibrations(client, study, "demo", tmp_path)
    assert capsys.readouterr().out == f"demo is not calibrated: It broke. Mend it. [{calibration}]\n"


def test_a_demo_leaves_a_service_that_was_running_before(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """`--keep` has nothing to keep up then, so the demo ends."""
    show(client, client.calibrate("demo")["id"], "binnacle", ours=False)
    said = capsys.readouterr()
    assert said.out.startswith(f"the study's page: {client.url}")
    assert "The service was running before and still runs." in said.err
    assert "Ctrl-C" not in said.err
