"""The results of a study's jobs, made by hand: summaries with the numbers that a test needs, in the form of summary.json."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import numpy as np

from workers.reports.document import Report
from workers.reports.gathered import Cell, Gathered
from workers.science.intervals import Interval
from workers.science.verdicts import verdict

POSITION = "response[:5]/residual"
Line = Mapping[str, Any]
PROVENANCE = {"reading_hash": "5ea1" * 16}
Limits = tuple[float, float, float] | None
"""A value with the ends of its interval. None: a fixed value without an interval, as with too few clusters."""


def effect(run: str, gain: Limits, *, coherence: float = 95.0, r: float = 0.5) -> dict[str, Any]:
    """One run on test questions, with a gain of `gain` points."""
    delta, low, high = gain or (40.0, None, None)
    return {
        "run": run, "n": 60, "trait": 50.0 + delta, "coherence": coherence, "failed": 0, "r": r, "c": 20.0 * r, "r_raw": r, "delta": delta,
        "delta_low": low, "delta_high": high, "delta_joint": delta, "delta_joint_low": low, "delta_joint_high": high,
        "interval": None if low is None else "BCa", "clusters": 30,
    }  # fmt: skip


def summary(
    gains: Mapping[str, Limits],
    against_the_leader: Mapping[str, Limits],
    *,
    massive_part: str | None = None,
    controls: Mapping[str, Limits] | None = None,
) -> dict[str, Any]:
    """summary.json of one steering: each method's gain at its best dose, and the differences from the first one, which leads."""
    leader = next(iter(gains))

    def group(method: str, gain: Limits) -> dict[str, Any]:
        best = effect(f"test-{method}", gain)
        return {
            "group": f"{POSITION}/{method}", "subject": f"{POSITION}/{method}/2", "method": method, "position": "response[:5]",
            "component": "residual", "layers": [2], "same_as": None, "best": best,
            "matched": {"dose": best, "coherence": best, "coefficient": best},
            "controls": {
                kind: [effect(f"test-{kind}-{method}", limits)] for kind, limits in (controls or {"random": (0.0, -5.0, 5.0)}).items()
            },
            "decomposition": {"massive_part": massive_part, "arms": {}} if massive_part and method == "mean_diff" else None,
            "extra": {}, "off_target": {},
        }  # fmt: skip

    def contrast(method: str, limits: Limits) -> dict[str, Any]:
        difference, low, high = limits or (0.0, None, None)
        return {
            "a": f"{POSITION}/{leader}", "b": f"{POSITION}/{method}", "difference": difference, "low": low, "high": high,
            "interval": None if low is None else "max-t", "smallest_detectable": 9.0,
            "verdict": verdict(None if low is None else Interval(low, high, "max-t", 60, 30)),
        }  # fmt: skip

    return {
        "leader": f"{POSITION}/{leader}",
        "groups": [group(method, gain) for method, gain in gains.items()],
        "subjects": [],
        "contrasts": {"dose": [contrast(method, limits) for method, limits in against_the_leader.items()]},
        "unsteered": {name: {"run": f"{name}-unsteered", "coherence": 99.0, "trait": 10.0} for name in ("selection", "test")},
        "prompt_only": None,
        "direction": "positive",
        "judge": {"name": "reference", "version": 1},
        "questions": {name: {"n": 60, "clusters": 30} for name in ("selection", "test")},
        "coherence_threshold": 70.0,
        "provenance": PROVENANCE,
    }


def gathered(
    summaries: Mapping[str, Mapping[str, Any]], *, model: str = "m", missing: list[dict[str, Any]] | None = None
) -> Gathered:
    """One model, with one steering for each trait."""
    cells = [
        Cell(model, trait, None, {}, one, {"extraction": f"/v1/extractions/{trait}", "steering": f"/v1/steerings/{trait}"})
        for trait, one in summaries.items()
    ]
    return Gathered({model: aggregate()}, cells, missing or [], {model: "/v1/calibrations/c"}, provenance={model: PROVENANCE})


def aggregate() -> dict[str, Any]:
    """The aggregate of a calibration that found one massive dim."""
    ratios = dict.fromkeys(("ratio_to_median", "ratio_to_mean", "max_to_median", "max_to_entry_median"), 700.0)
    return {
        "severity": {
            "verdict": "severe", "scope": "every_token", "dominant_dim": 7, "share_of_squared_norm": 0.99, "mean_alignment": 0.9,
            "ratios": ratios,
        },
        "massive_dims": {"rule": "peeling", "dims": [7]},
        "massive_by_layer": {"2": [7]},
        "ratio_order_by_layer": {"2": [7, 3, 1]},
        "per_layer": {"2": {"7": {"ratio": 700.0}}},
        "layer_norms": {"2": 1000.0},
        "clean_norms": {"2": float(np.float32(30.0))},
    }  # fmt: skip


STUDY = {"models": ["m"], "traits": ["refusal", "sycophancy"], "evidence": "quick", "coherence_threshold": 70.0, "published": []}


def read(job: str, wanted: Collection[str]) -> tuple[list[Line], dict[str, list[Line]]]:
    """Runs and answers of a steering: each answer says which run and question it is of, and trait scores differ."""
    runs = [{"run": run, "set": run.split("-")[0], "label": run, "vector": None, "r": None} for run in wanted]
    return runs, {run: [answer(job, run, at) for at in range(5)] for run in wanted}


def answer(job: str, run: str, at: int) -> Line:
    """A line of responses.jsonl."""
    said = {"question": f"Question {at} of {job}?", "system_prompt": None, "text": f"Answer {at} of {run} of {job}."}
    return {"run": run, **said, "trait": 10.0 * at, "coherence": 90.0, "ended": True, "finite": True}


def html_of(report: Report) -> str:
    """report.html, dated on a fixed day."""
    return report.to_html(read, date(2026, 1, 31))
