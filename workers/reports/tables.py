"""The tables of a study (docs/science.md, 5), from what was gathered. Every number's definition stands in its table's note."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from binnacle.words.emergence import NOT_MEASURED
from binnacle.words.judging import cannot_tell
from binnacle.words.massive import listed, massive_at, rule_of
from terms.documents.calibration import Aggregate
from terms.documents.steering import Effect, Group, Summary
from terms.methods import UnknownMethod, parse_method
from workers.reports.gathered import Cell, Gathered
from workers.reports.standing import COLUMNS, NOT_STEERED, NOTE, standing
from workers.reports.table import Column, Row, Table
from workers.science.dose import NO_CLEAN_DOSE
from workers.science.verdicts import AGREEMENT, NOT_ENOUGH

EFFECT = (
    "Gains are in points of the judge's trait score (0-100), steered minus unsteered on the same test questions, "
    "which were not used to choose layer or dose. Brackets hold 95 % intervals over clusters of questions; a "
    "missing interval means too few clusters."
)


GainKey = Literal["delta", "delta_joint"]


def methods(data: Gathered) -> Table:
    """Every method at its best dose, at matched dose and at matched coherence, with baseline and controls."""
    rows = [row for cell in data.cells if cell.steering for row in _judged(_method_rows(cell, cell.steering), cell.steering)]
    if data.agreement is not None and (data.agreement.spearman or 0.0) < AGREEMENT:
        rows = [_without_verdict(row) for row in rows]
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("layer", "layer"),
        Column("r", "dose", "number"),
        Column("c", "coefficient", "number"),
        Column("coherence", "coherence", "number"),
        Column("delta", "gain", "points"),
        Column("joint", "joint gain", "points"),
        Column("at_dose", "gain at the leader's dose", "points"),
        Column("at_coherence", "gain at matched coherence", "points"),
        Column("at_coefficient", "gain at the probe's coefficient", "points"),
        Column("verdict", "against the leader at equal dose"),
        Column("link", "runs", "link"),
    ]
    note = (
        f"{EFFECT} Joint gain counts answers that show the trait and stay coherent, in percentage points. Dose r is the part of the push "
        "outside the massive dims over the stream's norm without them; equal r is matched dose. At the probe's raw "
        "coefficient a vector with massive dims pushes less where it counts: that column does not compare methods; "
        "published results for mean_diff were measured this way. Controls run at the best method's dose."
    )
    return Table("methods", "Methods", note, columns, rows)


def _judged(rows: Iterator[Row], summary: Summary) -> list[Row]:
    """The rows, without a verdict where the judge cannot tell the classes apart."""
    if cannot_tell(summary.get("judge_facts") or {}) is None:
        return list(rows)
    return [_without_verdict(row) for row in rows]


def _without_verdict(row: Row) -> Row:
    return {**row, "verdict": f"{NOT_ENOUGH} (the judge)"} if row.get("verdict") else row


def _method_rows(cell: Cell, summary: Summary) -> Iterator[Row]:
    verdicts = {one["b"]: one["verdict"] for one in summary["contrasts"]["dose"] if one["a"] == summary["leader"]}
    unsteered = summary["unsteered"]["test"]
    base = {"model": cell.model, "trait": cell.trait, "link": cell.runs}
    yield base | {
        "method": "unsteered",
        "kind": "control",
        "coherence": unsteered["coherence"],
        "coherence_from": cell.texts(unsteered),
        "trait_score": unsteered["trait"],
    }
    if summary["prompt_only"]:
        yield base | {"method": "prompt only", "kind": "control"} | _effect(cell, summary["prompt_only"])
    for group in summary["groups"]:
        if is_ablation(group["method"]):
            continue
        leads = group["group"] == summary["leader"]
        row = base | {"method": group["method"], "kind": "method", "layer": _layers(group["layers"]), "group": group["group"]}
        if group["best"] is not None:
            row |= _effect(cell, group["best"])
        for way in ("dose", "coherence", "coefficient"):
            row |= points(cell, f"at_{way}", group["matched"].get(way))
        yield row | {"verdict": "leads" if leads else verdicts.get(group["group"], _same(group))}
    leader = next((one for one in summary["groups"] if one["group"] == summary["leader"]), None)
    for kind, runs in (leader["controls"] if leader else {}).items():
        for number, run in enumerate(runs):
            yield base | {"method": f"{kind} control {number + 1}", "kind": "control"} | _effect(cell, run)


def _effect(cell: Cell, effect: Effect) -> Row:
    return (
        {key: effect.get(key) for key in ("r", "c", "coherence", "run")}
        | {"coherence_from": cell.texts(effect)}
        | points(cell, "delta", effect)
        | points(cell, "joint", effect, "delta_joint")
    )


def points(cell: Cell, name: str, effect: Effect | None, source: GainKey = "delta") -> Row:
    """A column of kind points with its interval and where it comes from, of an effect as summary.json holds it; nothing where there is none."""
    if not effect or effect.get(source) is None:
        return {}
    return {
        name: effect[source],
        f"{name}_low": effect.get(f"{source}_low"),
        f"{name}_high": effect.get(f"{source}_high"),
        f"{name}_from": cell.texts(effect),
    }


def _layers(layers: list[int]) -> str:
    return "+".join(map(str, layers))


def _same(group: Group) -> str | None:
    notes = [f"same vector as {group['same_as']}"] if group.get("same_as") else []
    notes += [f"vector of {group['source_model']}"] if group.get("source_model") else []
    return "; ".join(notes) or None


def is_ablation(key: str) -> bool:
    """Whether a method belongs to the cleaning ablation alone."""
    try:
        return parse_method(key).suffix in ("pretop", "randomdims", "largest")
    except UnknownMethod:
        return False


def cleaning(data: Gathered) -> Table:
    """What zeroing N dims does, beside zeroing N others."""
    rows = [
        row
        for cell in data.cells
        if cell.steering
        for row in _cleaning_rows(cell, cell.steering, data.calibrations.get(cell.model))
    ]
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("base", "method"),
        Column("n", "dims zeroed", "number"),
        Column("massive", "of them massive", "number"),
        Column("top", "largest ratio, after the fit", "points"),
        Column("pretop", "largest ratio, before the fit", "points"),
        Column("randomdims", "random other dims", "points"),
        Column("largest", "largest weight outside the massive list", "points"),
    ]
    note = f"{EFFECT} Dims are zeroed in the order of their ratio_to_median at the layer, whether massive or not. All at the leader's dose."
    return Table("cleaning", "Cleaning ablation", note, columns, rows)


def _cleaning_rows(cell: Cell, summary: Summary, calibration: Aggregate | None) -> Iterator[Row]:
    found: dict[tuple[str, int], Row] = {}
    for group in summary["groups"]:
        try:
            method = parse_method(group["method"])
        except UnknownMethod:
            continue
        if method.base not in ("mean_diff", "probe") or method.suffix in ("cleaned", "preclean"):
            continue
        effect = group["matched"].get("dose") or group["best"]
        massive = _massive_among_first(calibration, group["layers"], method.top)
        row = found.setdefault((method.base, method.top), {"base": method.base, "n": method.top, "massive": massive})
        for suffix in [method.suffix] if method.suffix else ["top", "pretop", "randomdims", "largest"]:
            row.update(points(cell, suffix, effect))
    for key in sorted(found):
        if any(n > 0 for base, n in found if base == key[0]):
            yield {"model": cell.model, "trait": cell.trait} | found[key]


def _massive_among_first(calibration: Aggregate | None, layers: Sequence[int], n: int) -> int | None:
    """How many of a layer's first `n` dims by ratio_to_median are in its list, which need not be the head of that order."""
    order = None if calibration is None else calibration.get("ratio_order_by_layer", {}).get(str(layers[0]))
    if len(layers) != 1 or calibration is None or order is None:
        return None
    return len({*order[:n]} & {*massive_at(calibration, layers[0])})


def traits(data: Gathered) -> Table:
    """The same method on every trait, side by side."""
    names = list(dict.fromkeys(cell.trait for cell in data.cells))
    rows: dict[tuple[str, str], Row] = {}
    for cell in data.cells:
        for group in cell.steering["groups"] if cell.steering else []:
            if not is_ablation(group["method"]) and group["best"] is not None:
                row = rows.setdefault((cell.model, group["method"]), {"model": cell.model, "method": group["method"]})
                row.update(points(cell, cell.trait, group["matched"].get("dose") or group["best"]))
    columns = [Column("model", "model"), Column("method", "method"), *(Column(name, name, "points") for name in names)]
    return Table(
        "traits", "Traits side by side", f"{EFFECT} All at the leader's dose of each trait.", columns, list(rows.values())
    )


def severity(data: Gathered, verdicts: Mapping[str, Mapping[str, str]]) -> Table:
    """Which dimension dominates each model, in all four ratios, and what that means for mean_diff."""
    rows: list[Row] = []
    for model, aggregate in data.calibrations.items():
        found = aggregate["severity"]
        rows.append(
            {
                "model": model,
                "verdict": found["verdict"],
                "scope": found["scope"],
                "dim": found["dominant_dim"],
                "dims": listed(aggregate),
                "rule": rule_of(aggregate),
                "share": found["share_of_squared_norm"],
                "alignment": found["mean_alignment"],
                **found["ratios"],
                **standing(aggregate, data.provenance.get(model)),
                "link": data.sources.get(model),
                **verdicts.get(model, NOT_STEERED),
            }
        )
    rows += [{"model": model, "verdict": NOT_MEASURED, "why": why} for model, why in data.unmeasured.items()]
    columns = [
        Column("model", "model"),
        Column("verdict", "severity"),
        Column("scope", "scope"),
        Column("dim", "dominant dim"),
        Column("dims", "massive dims", "dims"),
        Column("rule", "by the rule"),
        Column("ratio_to_median", "ratio_to_median", "number"),
        Column("ratio_to_mean", "ratio_to_mean", "number"),
        Column("max_to_median", "max_to_median", "number"),
        Column("max_to_entry_median", "max_to_entry_median", "number"),
        Column("share", "share of squared norm", "share"),
        Column("alignment", "mean alignment", "number"),
        *COLUMNS,
        Column("viable", "mean_diff viable"),
        Column("why", "why"),
        Column("massive_part", "the massive part is"),
        Column("link", "calibration", "link"),
    ]
    note = (
        "ratio_to_median: token-mean size over the median dim's (mild from 10, severe from 100). ratio_to_mean: size of the mean vector's "
        "entry over the mean entry. max_to_median: per prompt, largest over the median dim's largest. max_to_entry_median: per prompt, "
        f"largest over the median of all entries. {NOTE} mean_diff is viable where it ties with the best method at equal dose."
    )
    return Table("severity", "Model severity", note, columns, rows)


def vectors(data: Gathered) -> Table:
    """What each vector is made of."""
    rows = []
    for cell in data.cells:
        chosen = {one["group"]: one["layers"] for one in cell.steering["groups"]} if cell.steering else {}
        for facts in cell.extraction["vectors"] if cell.extraction else []:
            group = f"{facts['position']}/{facts['component']}/{facts['method']}"
            massive = facts.get("massive")
            if chosen.get(group) != [facts["layer"]]:
                continue
            stability, separation = facts.get("stability"), facts.get("separation")
            clean = None if massive is None else massive.get("clean_norm")
            rows.append(
                {
                    "model": cell.model,
                    "trait": cell.trait,
                    "method": facts["method"],
                    "layer": facts["layer"],
                    "massive": None if massive is None else massive.get("share"),
                    "noise": None if massive is None else massive.get("noise_share"),
                    "split_half": None if stability is None else stability.get("split_half_cosine"),
                    "accuracy": None if separation is None else separation.get("accuracy"),
                    "dosed": "no clean dose" if clean is not None and clean**2 < NO_CLEAN_DOSE else None,
                    "link": cell.links["extraction"],
                }
            )
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("layer", "layer"),
        Column("massive", "squared norm in massive dims", "share"),
        Column("noise", "sampling noise", "share"),
        Column("split_half", "split-half cosine", "number"),
        Column("accuracy", "held-out accuracy", "number"),
        Column("dosed", "dose"),
        Column("link", "extraction", "link"),
    ]
    note = "What each chosen vector is made of. Held-out accuracy is a separation: it does not predict steering."
    return Table("vectors", "What the vectors are made of", note, columns, rows)


def decomposition(data: Gathered) -> Table:
    """The massive part of mean-based vectors, steered with alone."""
    rows = []
    for cell in data.cells:
        for group in cell.steering["groups"] if cell.steering else []:
            parts = group["decomposition"]
            if parts and not is_ablation(group["method"]):
                row = {"model": cell.model, "trait": cell.trait, "method": group["method"], "verdict": parts["massive_part"]}
                for arm, effect in parts["arms"].items():
                    row |= points(cell, arm, effect)
                rows.append(row)
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("clean", "clean part alone", "points"),
        Column("massive", "massive part alone", "points"),
        Column("both", "both", "points"),
        Column("verdict", "the massive part is"),
    ]
    note = f"{EFFECT} Each part at the coefficient it has inside the vector, at the leader's dose."
    return Table("decomposition", "What the massive part does", note, columns, rows)


def extra_sets(data: Gathered) -> Table:
    """Paraphrases, unrelated questions and those that can be answered right, at the chosen dose and at half of it."""
    rows = []
    for cell in data.cells:
        for group in cell.steering["groups"] if cell.steering else []:
            for name, runs in group["extra"].items():
                for at, effect in runs.items():
                    base = {"model": cell.model, "trait": cell.trait, "method": group["method"], "set": name, "at": at}
                    shares = {
                        "unchanged": effect["unchanged"],
                        "unchanged_from": cell.texts(effect),
                        "coherence": effect["coherence"],
                    }
                    right = {key: effect.get(key) for key in ("right", "right_unsteered")} | {"right_from": cell.texts(effect)}
                    rows.append(base | shares | right | points(cell, "delta", effect))
    columns = [
        Column("model", "model"),
        Column("trait", "trait"),
        Column("method", "method"),
        Column("set", "questions"),
        Column("at", "dose"),
        Column("delta", "gain", "points"),
        Column("coherence", "coherence", "number"),
        Column("unchanged", "same text as unsteered", "share"),
        Column("right", "answered right", "share"),
        Column("right_unsteered", "unsteered: answered right", "share"),
    ]
    return Table(
        "extra",
        "Other questions: paraphrases, unrelated ones, capability",
        f"{EFFECT} At the chosen dose and at half of it.",
        columns,
        rows,
    )
