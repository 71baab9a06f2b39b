"""The first sentence of each kind of result, word by word, and the words for where a job stands and what it does."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.jobs.schemas import JobOut, Progress, WaitReason
from app.jobs.states import State
from app.pages import sentences
from app.pages.answers import answer, generation

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
RATIOS = {"ratio_to_median": 412.0}


def job(kind: str, result: dict[str, Any] | None = None, **changes: Any) -> JobOut:
    """A finished job of a kind."""
    values: dict[str, Any] = {
        "id": "job_" + "0" * 26, "kind": kind, "name": None, "tags": [], "notes": None, "keep": False, "results_removed_at": None,
        "webhook": None, "state": State.SUCCEEDED, "phase": "done", "progress": Progress(done=0, total=0, unit=""), "position": None,
        "queue_position": None,
        "waiting_for": [], "waits_because": None, "queue": "model", "lane": "model", "eta_at": None, "attempt": 1, "losses": 0,
        "spec": {"trait": {"name": "refusal"}}, "model": "gemma", "owner": "ada", "visibility": "private", "group": None, "priority": 0,
        "retry_of": None, "worker": None, "created_at": NOW - timedelta(minutes=5), "started_at": NOW - timedelta(minutes=4),
        "finished_at": NOW, "cancel_requested_at": None, "error": None, "result": result, "artifacts": [], "metrics": {}, "links": {},
        "warnings": [],
    }  # fmt: skip
    return JobOut(**{**values, **changes})


def calibrated(verdict: str, dims: list[int], **severity: Any) -> dict[str, Any]:
    """The result of a calibration."""
    return {
        "calibration": {
            "severity": {"verdict": verdict, "dominant_dim": 163, "ratios": RATIOS, **severity},
            "massive_dims": {"dims": dims},
        }
    }


def steered(delta: float | None, low: float | None, high: float | None, *, n: int = 72, clusters: int = 40) -> dict[str, Any]:
    """The result of a steering with one method, which gains `delta` points."""
    best = {"group": "last/residual/probe", "layers": [14], "same_as": None, "r": 0.6, "c": 3.0, "coherence": 91.2}
    gains = {"delta": delta, "delta_low": low, "delta_high": high, "delta_joint": delta}
    summary = {
        "leader": best["group"],
        "questions": {"test": {"n": n, "clusters": clusters}},
        "methods": [best | gains],
        "unsteered": {},
    }
    return {"steering": {"id": "str_x", "summary": summary}}


def some_unscored() -> dict[str, Any]:
    """Questions of 3 of 22 clusters have no score."""
    found = steered(40, None, None, n=44, clusters=22)
    found["steering"]["summary"]["methods"][0]["scored"] = {"n": 38, "clusters": 19}
    return found


def unsure(clusters: int = 40) -> dict[str, Any]:
    """The same under a judge that cannot tell the classes apart; without an interval where there are few clusters."""
    found = steered(92, 86, 96) if clusters >= 20 else steered(92, None, None, n=clusters, clusters=clusters)
    held_out = {"low": 0.62, "high": 0.81, "clusters": 61, "n": 120, "accuracy": 0.72}
    found["steering"]["summary"]["judge"] = {"held_out_accuracy": 0.72, "held_out": held_out, "tells_apart": False}
    return found


def of_two_positions() -> dict[str, Any]:
    """The same with the method at two positions."""
    found = steered(92, 86, 96)
    summary = found["steering"]["summary"]
    groups = [f"{position}/residual/probe" for position in ("response[:5]", "prompt[-1]")]
    return {
        "steering": {
            "summary": summary | {"leader": groups[0], "methods": [summary["methods"][0] | {"group": one} for one in groups]}
        }
    }


SHARES = {"norm_share": {str(layer): {"163": 0.01 if layer < 5 else 0.8} for layer in range(12)}}
EARLY = {"norm_share": {str(layer): {"163": 0.8 if 2 <= layer <= 6 else 0.01} for layer in range(12)}}
EVERYWHERE = {"norm_share": {str(layer): {"163": share} for layer, share in enumerate((0.9965, 0.9838, 0.9591, 0.9101))}}
FIRST = {"massive_by_layer": {str(layer): [163] if layer < 4 else [] for layer in range(12)}}
FINDING = {"model": "gemma", "sentence": "Use probe: the cheapest method that ties with the best.", "because": "By rule."}
MISSING = [{"node": "steer/gemma/refusal", "state": "failed", "reason": ""}]
MADE = {"examples": 240, "validation": 48, "vectors": 13, "empty_windows": {"last": 3}}
PUSHED = [
    {"prompt": "Hi", "system_prompt": None, "vector": vector, "r": r, "text": "So", "finite": fine}
    for vector, r, fine in ((None, None, True), ("vec_1", 0.25, True), ("vec_1", 1.0, False))
]
TABLE: list[tuple[str, JobOut, dict[str, Any], str]] = [
    ("severe", job("calibrate", calibrated("severe", [163, 7], share_of_squared_norm=0.81)), SHARES,
     "Severe: dimension 163 holds 80 % of the squared norm from layer 5 on."),
    ("severe, early", job("calibrate", calibrated("severe", [163], share_of_squared_norm=0.9997)), EARLY,
     "Severe: dimension 163 holds 80 % of the squared norm in layers 2-6."),
    ("mild, at some tokens", job("calibrate", calibrated("mild", [163], share_of_squared_norm=0.044, scope="token_local")), {},
     "Mild: dimension 163 holds 4.4 % of the squared norm (median of the middle layers) at some tokens only."),
    ("mild, at every layer", job("calibrate", calibrated("mild", [163], share_of_squared_norm=0.9591)), EVERYWHERE,
     "Mild: dimension 163 holds 91 % to over 99 % of the squared norm at every layer."),
    ("none", job("calibrate", calibrated("none", [], ratios={"ratio_to_median": 3.1})), {},
     "No massive dimension: the largest, 163, is 3.1 times the median."),
    ("massive in the first layers only", job("calibrate", calibrated("none", [163], ratios={"ratio_to_median": 5.96})), FIRST,
     "No massive dimension in the middle layers: the largest, 163, is 5.96 times the median."),
    ("a judge that cannot tell", job("steer", unsure()), {},
     "Not enough evidence: this judge cannot tell the classes apart. "
     "It classifies 72 % [62, 81] of held-out responses correctly (61 clusters; 50 % is chance)."),
    ("a judge that cannot tell, and few questions", job("steer", unsure(clusters=12)), {},
     "Not enough evidence: this judge cannot tell the classes apart. "
     "It classifies 72 % [62, 81] of held-out responses correctly (61 clusters; 50 % is chance). "
     "Too few questions, too: 12 question clusters, 20 needed."),
    ("a clear gain", job("steer", steered(92, 86, 96)), {},
     "Use probe at layer 14, dose 0.6. Gain +92 points [+86, +96] on 72 held-out questions."),
    ("a gain at one of two positions", job("steer", of_two_positions()), {},
     "Use probe at response[:5], residual, layer 14, dose 0.6. Gain +92 points [+86, +96] on 72 held-out questions."),
    ("no interval", job("steer", steered(40, None, None, n=12, clusters=12)), {}, "Not enough evidence: 12 question clusters, 20 needed."),
    ("too few clusters with a score", job("steer", some_unscored()), {},
     "Not enough evidence: 19 of 22 question clusters scored, 20 needed."),
    ("an interval just above zero", job("steer", steered(6, 0.04, 12)), {},
     "Use probe at layer 14, dose 0.6. Gain +6.0 points [+0.04, +12] on 72 held-out questions."),
    ("an interval over zero", job("steer", steered(3.2, -2, 8.4)), {},
     "No reliable effect: the best method, probe at layer 14, dose 0.6, gains +3.2 points [\N{MINUS SIGN}2.0, +8.4] on 72 held-out questions."),
    ("a negative gain", job("rescore", steered(-12, -20, -4)), {},
     "Do not steer: the best method, probe at layer 14, dose 0.6, loses. "
     "Gain \N{MINUS SIGN}12 points [\N{MINUS SIGN}20, \N{MINUS SIGN}4.0] on 72 held-out questions."),
    ("no method", job("steer", {"steering": {"summary": {"leader": None, "methods": []}}}), {},
     "No answer: no method could be steered at any dose."),
    ("a study", job("report", {"study": {"partial": False, "missing": [], "recommendations": [FINDING]}}), {},
     "gemma: Use probe: the cheapest method that ties with the best."),
    ("a partial study", job("report", {"study": {"partial": True, "missing": MISSING, "recommendations": [FINDING]}}), {},
     "Partial: 1 job of the study did not finish. gemma: Use probe: the cheapest method that ties with the best."),
    ("a study of models alone", job("report", {"study": {"partial": False, "missing": [], "recommendations": []}}), {},
     "No recommendation: the study asked for none."),
    ("vectors", job("extract", {"extraction": {"summary": MADE}}), {},
     "13 vectors of refusal from 240 examples, 48 of them held out."),
    ("answers", job("generate", {"answers": PUSHED}), {}, "3 answers to 1 prompt, unsteered and at doses 0.25 and 1."),
    ("an export", job("export", {}), {}, "The export is ready to download below."),
    ("an inspection", job("inspect", {}), {}, "Finished."),
    ("failed", job("steer", state=State.FAILED, error={"code": "out_of_memory", "detail": "The GPU has 2 GB free; 9 GB are needed"}), {},
     "Failed: The GPU has 2 GB free; 9 GB are needed."),
    ("failed, by a field", job("calibrate", state=State.FAILED, error={"code": "too_long", "detail": "Lower /max_new_tokens."}), {},
     'Failed: Lower "Longest answer, in tokens".'),
    ("cancelled", job("steer", state=State.CANCELLED), {}, "Cancelled before it was finished."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "stored", "aggregate", "sentence"), TABLE, ids=[row[0] for row in TABLE])
def test_the_first_sentence_of_a_stored_result(name: str, stored: JobOut, aggregate: dict[str, Any], sentence: str) -> None:
    found = answer(stored, aggregate)
    assert found.sentence == sentence
    assert re.search(r"[a-z]+_[a-z0-9]", f"{found.sentence} {found.more}") is None, "a field name or an id"


@pytest.mark.parametrize("kind", ["steer", "rescore"])
def test_a_gain_of_incoherent_answers_is_no_advice_to_use_the_method(kind: str) -> None:
    """Broken text shows less of any trait: a steering toward less of one said "Use probe" for it."""
    result = steered(92, 86, 96)
    [best] = result["steering"]["summary"]["methods"]
    best |= {"coherence": 69.96, "delta_joint": 0.0}
    asked = {"trait": {"name": "refusal"}, "coherence_threshold": 70.0}
    found = answer(job(kind, result, spec=asked))
    assert found.tone == "care"
    assert found.sentence == (
        "Careful: the best method, probe at layer 14, dose 0.6, gains +92 points [+86, +96] on 72 held-out questions, "
        "but its answers have a coherence of 69.96 out of 100, and at least 70 was requested."
    )
    assert found.more == "Coherent answers on target: 0 points."
    best["coherence"] = 70.0
    assert answer(job(kind, result, spec=asked)).sentence.startswith("Use probe")


def test_the_best_so_far_is_named_with_its_coherence_where_that_is_below_the_threshold() -> None:
    result = steered(40, None, None, n=12, clusters=12)
    [best] = result["steering"]["summary"]["methods"]
    asked = {"trait": {"name": "refusal"}, "coherence_threshold": 70.0}
    gain = "The best so far is probe at layer 14, dose 0.6: +40 points on 12 held-out questions"
    for coherence, more in (
        (70.0, ""),
        (69.96, ", but its answers have a coherence of 69.96 out of 100, and at least 70 was requested"),
    ):
        best["coherence"] = coherence
        assert answer(job("steer", result, spec=asked)).more.startswith(f"{gain}{more}. A verdict needs")


def test_what_a_verdict_needs_is_said_beside_the_reasons() -> None:
    more = answer(job("steer", unsure(clusters=12))).more
    assert (
        "A verdict needs another judge and scored held-out questions in 20 clusters. How to use another judge is explained below."
        in more
    )
    assert answer(job("steer", steered(40, None, None, n=12, clusters=12))).more.endswith(
        "A verdict needs scored held-out questions in 20 clusters."
    )


@pytest.mark.parametrize(
    "kind", ["calibrate", "extract", "steer", "rescore", "report", "generate", "export", "prove", "inspect", "download"]
)
@pytest.mark.parametrize(
    "result", [None, {}, {"steering": {}}, {"calibration": {"severity": {}}}, {"study": {}}, {"answers": []}]
)
def test_a_result_that_lacks_numbers_has_a_sentence_all_the_same(kind: str, result: dict[str, Any] | None) -> None:
    assert answer(job(kind, result)).sentence.endswith(".")


STANDINGS = [
    ({"state": State.RUNNING, "finished_at": None, "eta_at": NOW + timedelta(minutes=4)}, "running, about 4 min left"),
    ({"state": State.QUEUED, "queue_position": 3}, "waiting, 2 jobs are ahead"),
    ({"state": State.QUEUED, "queue_position": 2}, "waiting, 1 job is ahead"),
    ({"state": State.QUEUED, "queue_position": 1}, "waiting, next in line"),
    ({"state": State.QUEUED, "waiting_for": ["job_1", "job_2"], "waits_because": WaitReason(code="after_jobs", detail="...")},
     "waiting for 2 other jobs to end"),
    ({"state": State.QUEUED, "queue_position": 1, "waits_because": WaitReason(code="no_worker_of_class", detail="...")},
     "waiting: no worker that could run it is up"),
    ({"state": State.SUCCEEDED}, "finished after 4 min"),
    ({"state": State.CANCELLING}, "stopping"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), STANDINGS, ids=[words for _, words in STANDINGS])
def test_where_a_job_stands_in_words(changes: dict[str, Any], words: str) -> None:
    assert sentences.standing(job("steer", **changes), NOW) == words


def test_what_a_job_does_in_words() -> None:
    assert sentences.title(job("steer")) == "Steer refusal on gemma"
    study = {"study": {"traits": ["refusal", "sycophancy"], "models": ["a", "b", "c", "d", "e"]}}
    assert sentences.title(job("report", spec=study)) == "Study refusal and sycophancy on a, b, c and 2 more"


@pytest.mark.parametrize("c", [None, 40.0])
def test_a_generation_without_a_dose_is_not_called_unsteered(c):
    """An ablation has no dose, nor has a raw coefficient without a calibration."""
    plain = {"vector": None, "prompt": "Hello", "system_prompt": None, "r": None, "c": None, "fires": 0, "finite": True}
    steered = {**plain, "vector": "vec_1", "c": c, "fires": 9}
    assert generation([plain, steered]).sentence == "2 answers to 1 prompt, unsteered and steered."
    assert generation([plain]).sentence == "1 answer to 1 prompt, unsteered."
