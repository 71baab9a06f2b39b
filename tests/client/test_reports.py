"""What the command line prints of answers and of a steering: grouped by prompt, controls named, the gain with its interval, and `not scored`
where nothing was scored."""

from typing import Any

import pytest

from binnacle.cli.answers import answers_report, control_warnings
from binnacle.cli.gains import steering_report
from binnacle.cli.output import out


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
    assert "Unsteered: 0.28 of 100, coherence 99.79." in " ".join(said.split())
    summary["unsteered"] = {"test": {"trait": None, "coherence": None}}
    out.print(steering_report(steering))
    assert "Unsteered: not scored, coherence not scored." in " ".join(capsys.readouterr().out.split())
