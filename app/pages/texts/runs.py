"""Chooses among the runs of a steering: by set of questions, method and its place, layer and dose. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.pages.answers import layers_named
from app.pages.texts.places import at_place, of_model, places_of
from app.pages.wording import number
from terms.documents.runs import RunLine
from terms.documents.steering import Dose

Run = RunLine
KEY_LENGTH = 10
"""Number of characters at the end of a run's id, a hash of the run, that name it in addresses."""
LABELS = {"prompt only": "asked in the prompt"}
"""Words for the labels of runs without a vector; other labels are shown as they are."""
TEST = "test"


@dataclass(frozen=True)
class Chosen:
    """The selected run, the unsteered run of the same questions, and the alternatives: every set of the steering, every method of the run's
    set, and in `doses` the runs of the run's set and method, by layer and dose."""

    run: Run
    unsteered: Run | None
    method: str
    sets: list[str]
    methods: list[str]
    doses: list[Run]


def key_of(run: Run | str) -> str:
    """Returns the run's name in addresses."""
    return (run if isinstance(run, str) else str(run["run"]))[-KEY_LENGTH:]


def places_in(runs: Iterable[Run]) -> frozenset[str]:
    """Returns the positions and components of the runs' vectors, for `method_of`."""
    return places_of(filter(None, map(_group, runs)))


def method_of(run: Run, places: frozenset[str]) -> str:
    """Returns the method of the run's vector, with its place where there are several, or a description of a run without a vector."""
    vector, group = run.get("vector"), _group(run)
    if not vector:
        return LABELS.get(str(run["label"]), str(run["label"]))
    return f"{vector['method']}{of_model(group)}{at_place(group, places)}"


def _group(run: Run) -> str:
    """Returns the group of the run's vector, which is the vector's name without its layers; empty without a vector."""
    vector = run.get("vector")
    return str(vector["name"]).rpartition("/")[0] if vector else ""


def where(run: Run) -> str:
    """Returns layer and dose: `layer 14, dose 0.6`; for a part of a vector, also the part; the coefficient for a vector without a clean dose."""
    vector = run.get("vector")
    if not vector:
        return ""
    part = f"{arm}, " if (arm := part_of(run)) else ""
    dose = dose_of(run, "dose ")
    return f"{part}{layers_named(vector['layers'])}{dose and f', {dose}'}"


def dose_of(run: Dose, prefix: str = "") -> str:
    """Returns the dose, or the coefficients of a vector without a clean dose; empty for a run without either."""
    if run.get("r") is not None:
        return f"{prefix}{number(run['r'])}"
    c = run.get("c")
    written = ", ".join(number(coefficient) for coefficient in (c if isinstance(c, list) else [c]) if coefficient is not None)
    return written and f"coefficient {written}"


def part_of(run: Run) -> str:
    """Returns `massive part` or `clean part` for an arm of the decomposition; empty for the whole vector."""
    vector = run.get("vector")
    whole = f"{vector['name']}, " if vector else ""
    return str(run["label"]).removeprefix(whole) if whole and str(run["label"]).startswith(whole) else ""


def chosen(runs: Sequence[Run], *, key: str = "", set_: str = "", method: str = "", sign: int = 1) -> Chosen | None:
    """Returns the run with this key; without a key the best run of the set (default `test`) and method (default any); None without such a run.

    A method without its place, as in older addresses, stands for all its places. `sign` is -1 for a steering that aims at less of the trait.
    """
    places = places_in(runs)
    selected = next((run for run in runs if key and key_of(run) == key), None)
    if selected is None and key:
        return None
    if selected is None:
        of_set = [run for run in runs if run["set"] == (set_ or TEST)]
        selected = _best([run for run in of_set if method in ("", method_of(run, places), method_of(run, frozenset()))], sign)
    if selected is None:
        return None
    same = [run for run in runs if run["set"] == selected["set"]]
    name = method_of(selected, places)
    return Chosen(
        run=selected,
        method=name,
        unsteered=next((run for run in same if run["label"] == "unsteered"), None),
        sets=list(dict.fromkeys(str(run["set"]) for run in runs)),
        methods=list(dict.fromkeys(method_of(run, places) for run in same)),
        doses=sorted((run for run in same if method_of(run, places) == name), key=_order),
    )


def _order(run: Run) -> tuple[str, list[int], float]:
    """Sorts runs of a method: the whole vector before its parts, then by layers and dose."""
    vector = run.get("vector")
    coefficient = run.get("c")
    dose = run.get("r") or (coefficient if isinstance(coefficient, float | int) else 0.0)
    return part_of(run), vector["layers"] if vector else [], dose


def _best(runs: Sequence[Run], sign: int) -> Run | None:
    """Returns the best run: runs at their method's chosen dose first, then by trait score times `sign`, runs without a score last. Runs without
    a vector compete only where no run has one."""
    steered = [run for run in runs if run.get("vector")] or list(runs)

    def merit(run: Run) -> tuple[bool, float]:
        return "test" in run["roles"], -math.inf if run["trait"] is None else sign * run["trait"]

    return max(steered, key=merit, default=None)
