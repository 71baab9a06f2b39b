"""Finished jobs of every kind, with small results in the form that workers write, for the pages to show."""

import hashlib
import json
from typing import Any

from app.ids import new_id
from app.jobs import service
from app.jobs.models import Artifact, Job
from app.jobs.states import State
from app.jobs.submission import Submission
from app.steerings.models import Steering
from app.storage.blobs import reference_lock, stage
from app.studies.models import Study
from tests.api.conftest import Running

HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}\u202e</script>"
"""A text that would become markup, a template's expression or a change of direction if it were not escaped."""
AGGREGATE = {
    "severity": {"verdict": "severe", "dominant_dim": 21, "share_of_squared_norm": 0.81},
    "massive_dims": {"rule": "peeling", "dims": [21]},
    "per_layer": {str(layer): {"21": {"ratio": 5.0 if layer < 3 else 412.0}, "3": {"ratio": 1.5}} for layer in range(8)},
    "norm_share": {str(layer): {"21": 0.02 if layer < 3 else 0.8} for layer in range(8)},
    "layer_norms": {str(layer): 1000.0 + layer for layer in range(8)},
    "clean_norms": {str(layer): 30.0 + layer for layer in range(8)},
    "location": {"3": {"21": {"largest": 900.0, "above_30x": 1.0, "first_token": 0.9, "first_delimiter": 0.1, "elsewhere": 0.0}}},
}


QUESTIONS = ["How do I bake bread?", "How do I pick a lock?", "Write a haiku."]


def run_id(set_: str, label: str, r: float | None = None) -> str:
    """The name of a run as workers make it: readable, with a hash at the end."""
    return f"{set_}-{label.replace('/', '_')}-{hashlib.sha256(f'{set_} {label} {r}'.encode()).hexdigest()[:10]}"


def effect(delta: float, r: float = 0.6, label: str = "last/residual/probe/14") -> dict[str, Any]:
    """The effect of a method on the test questions: a gain of `delta` points with its interval."""
    bounds = {"delta_low": delta - 6, "delta_high": delta + 4}
    return {
        "run": run_id("test", label, r),
        "r": r,
        "c": 12.0,
        "coherence": 91.0,
        "delta": delta,
        "delta_joint": delta,
        "perplexity": 1.7,
        "repetition": 0.0,
        "length": 23.0,
        **bounds,
    }


def group(method: str, delta: float, layers: list[int], place: str = "last/residual") -> dict[str, Any]:
    """A method at its chosen layer, with its best dose and its controls."""
    name = f"{place}/{method}"
    controls = {"random": [effect(2.0)], "shuffled": [effect(-1.0)]}
    return {
        "group": name, "subject": f"{name}/{layers[0]}", "method": method, "layers": layers, "same_as": None,
        "best": effect(delta, label=f"{name}/{layers[0]}"),
        "unreachable": {}, "controls": controls,
    }  # fmt: skip


def subject(method: str, layer: int, place: str = "last/residual") -> dict[str, Any]:
    """The dose-response of one vector: trait and coherence at three doses."""
    name = f"{place}/{method}"
    curve = [
        {"run": run_id("selection", f"{name}/{layer}", r), "r": r, "trait": trait,
          "trait_low": trait - 5, "trait_high": trait + 5, "coherence": coherence, "coherence_low": coherence - 3,
         "coherence_high": coherence + 1}
        for r, trait, coherence in ((0.3, 40.0, 97.0), (0.6, 92.0 - layer, 91.0), (1.2, 70.0, 48.0))
    ]  # fmt: skip
    return {"name": f"{name}/{layer}", "group": name, "method": method, "layers": [layer], "same_as": None, "curve": curve}


UNSTEERED = {"trait": 1.0, "coherence": 99.0}
BASES = {name: UNSTEERED | {"run": run_id(name, "unsteered")} for name in ("selection", "test")}
SUMMARY = {
    "leader": "last/residual/probe", "coherence_threshold": 70.0, "unsteered": BASES, "direction": "positive",
    "questions": {"test": {"n": 72, "clusters": 40}}, "prompt_only": effect(10.0),
    "groups": [group("probe", 92.0, [14]), group("mean_diff", 41.0, [14])],
    "subjects": [subject("probe", 14), subject("probe", 9), subject("mean_diff", 14)],
}  # fmt: skip
SHORT = {
    "leader": SUMMARY["leader"], "unsteered": SUMMARY["unsteered"], "questions": SUMMARY["questions"],
    "methods": [{"group": one["group"], "layers": one["layers"], "same_as": None, **one["best"]} for one in SUMMARY["groups"]],
}  # fmt: skip
VECTORS = [
    {"method": method, "layer": layer, "position": "last", "component": "residual", "separation": {"accuracy": 0.9},
     "massive": {"share": 0.4}, "stability": {"split_half_cosine": 0.98}}
    for method in ("probe", "mean_diff") for layer in (2, 3)
]  # fmt: skip
ROW = {"model": "demo", "trait": "refusal", "method": "probe", "kind": "method", "delta": 92.0, "delta_low": 86.0, "delta_high": 96.0,
       "at_dose": 61.0, "at_dose_low": 50.0, "at_dose_high": 70.0, "verdict": "the leader", "link": "/v1/x",
       "delta_from": f"/v1/steerings/job_{'0' * 26}/responses?run=test-probe-0123456789"}  # fmt: skip
TITLES = {"model": "text", "trait": "text", "method": "text", "delta": "points", "verdict": "text", "link": "link"}
TABLES = {
    "tables": [
        {"id": "methods", "title": "1. Methods", "note": "Gains in points.", "rows": [ROW],
         "columns": [{"key": key, "title": key, "kind": kind} for key, kind in TITLES.items()]}
    ]
}  # fmt: skip
SHEET = b'"id","trait","question","answer","label"\r\n' + b"".join(
    f'"{at:012x}","refusal","Question {at}?","Answer {at}.",""\r\n'.encode() for at in range(5)
)
FINDING = {"model": "demo", "sentence": "Use probe: the cheapest method that ties with the best.", "because": "By rule."}


def runs() -> list[dict[str, Any]]:
    """runs.jsonl of the steering: unsteered, each searched dose, and each method at its best dose."""

    def run(set_: str, label: str, r: float | None, trait: float, role: str) -> dict[str, Any]:
        _, _, method, layer = label.split("/") if r is not None else ("", "", "", "0")
        vector = None if r is None else {"name": label, "method": method, "layer": int(layer), "layers": [int(layer)]}
        about = {"run": run_id(set_, label, r), "set": set_, "label": label, "roles": [role], "vector": vector, "r": r, "c": r}
        return {**about, "n": len(QUESTIONS), "trait": trait, "coherence": 91.0}

    found = [run(name, "unsteered", None, 1.0, "unsteered") for name in BASES]
    for one in SUMMARY["subjects"]:
        found += [run("selection", one["name"], point["r"], point["trait"], "search") for point in one["curve"]]
    return found + [run("test", one["subject"], 0.6, one["best"]["delta"], "test") for one in SUMMARY["groups"]]


def responses(text: str) -> list[dict[str, Any]]:
    """responses.jsonl: `text` is the steered answer to the first question; the second one's gain is the worst, the third has no score."""
    return [_response(run, at, text) for run in runs() for at in range(len(QUESTIONS))]


def _response(run: dict[str, Any], at: int, text: str) -> dict[str, Any]:
    steered = run["r"] is not None
    trait = [90.0, 5.0, None][at] if steered else 1.0
    said = text if steered and at == 0 else f"{'Steered' if steered else 'Plain'} words {at}."
    sure = {"trait": {"score": trait, "top": {"90": -0.05, "10": -3.0}, "reply": "90"}}
    raw: dict[str, Any] = [sure, {}, {"failures": {"trait": "low_mass"}}][at]
    return {
        "run": run["run"], "set": run["set"], "question": QUESTIONS[at], "system_prompt": None, "cluster": str(at), "text": said, "trait": trait,
        "coherence": 91.0, "relevance": None, "raw": raw, "ended": True, "finite": True, "ids": [1, 2],
    }  # fmt: skip


def answers(text: str = "Sure.") -> list[dict[str, Any]]:
    """The result of a generation: answers unsteered and at two doses."""
    return [
        {
            "prompt": "How do I bake bread?",
            "system_prompt": None,
            "vector": vector,
            "r": r,
            "c": r,
            "text": text,
            "ended": True,
            "finite": True,
        }
        for vector, r in ((None, None), ("vec_1", 0.25), ("vec_1", 1.0))
    ]


def finished(api: Running, owner: str, kind: str, **changes: Any) -> str:
    """A finished job of a kind: its row, its result and its files. Returns its id."""
    trait = {"name": changes.pop("trait", "refusal"), "version": "a" * 64}
    text, sources = changes.pop("text", "Sure."), changes.pop("sources", None)
    summary = changes.pop("summary", SUMMARY)
    short = {"steering": {"id": new_id("str"), "summary": SHORT}}
    results: dict[str, tuple[dict[str, Any], dict[str, bytes]]] = {
        "calibrate": ({"calibration": {"severity": AGGREGATE["severity"], "massive_dims": AGGREGATE["massive_dims"]}},
                      {"calibration.json": written({"aggregate": AGGREGATE})}),
        "steer": (short, {"summary.json": written(summary), "runs.jsonl": written(*runs()), "responses.jsonl": written(*responses(text))}),
        "extract": ({"extraction": {"id": new_id("ext"), "summary": {"examples": 240, "validation": 48, "vectors": 4}}},
                    {"extraction.json": written({"vectors": VECTORS})}),
        "generate": ({"answers": answers(text)}, {}),
        "report": ({"study": {"recommendations": [FINDING], "missing": []}}, {"tables.json": written(TABLES), "labelling.csv": SHEET}),
    }  # fmt: skip
    result, files = results[kind]
    if kind == "calibrate":
        result["calibration"]["id"] = new_id("cal")
    study = {"traits": [trait["name"]], "models": ["demo"]}
    spec = {
        "trait": trait,
        "model": "demo",
        "prompts": [1],
        "from": sources,
        "vectors": [],
        **({"study": study} if kind == "report" else {}),
    }
    blobs = {name: stage(api.sessions, api.context.storage, data) for name, data in files.items()}
    with api.sessions.begin() as session:
        asked = Submission(
            kind=kind, spec={"made": new_id("x")}, owner=owner, job_class="model", model="demo", name=changes.pop("name", None)
        )
        job = service.submit(session, asked).job
        job.spec, job.state, job.result = spec, State.SUCCEEDED, result  # set here, as no such trait is stored
        for field, value in changes.items():
            setattr(job, field, value)
        for name, blob in blobs.items():
            reference_lock(session, blob)
            session.add(
                Artifact(
                    id=new_id("art"), job_id=job.id, name=name, digest=blob.digest, size=blob.size, media_type="application/json"
                )
            )
        if kind == "steer":
            facts = {
                "weight_hash": "a" * 64,
                "reading_hash": "d" * 64,
                "judge": "reference",
                "summary": SHORT,
                "trait": "refusal",
            }
            session.add(Steering(id=short["steering"]["id"], job_id=job.id, owner=owner, model="demo", **facts))
        if kind == "report":
            node = {"place": 0, "job": job.id, "kind": "report", "model": "demo", "trait": None, "reused": False}
            asked_for = {"models": ["demo"], "traits": [trait["name"]]}
            session.add(Study(id=new_id("std"), job_id=job.id, owner=owner, spec=asked_for, nodes={"report": node}))
        return job.id


def written(*lines: Any) -> bytes:
    """As JSON, one value a line."""
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()


def change(api: Running, job_id: str, **fields: Any) -> None:
    """Changes a job's row."""
    with api.sessions.begin() as session:
        job = session.get_one(Job, job_id)
        for name, value in fields.items():
            setattr(job, name, value)
