"""The model card: what a shipped model is, what holds in it by construction, and what was measured of it."""

from typing import Any

from tools.training.network import HEADS, INNER, LAYERS, PLANTED_DIM, WIDTH
from tools.training.recipe import COMMON, VARIANTS, Variant
from tools.training.signal import READER, REFERENCE, REFERENCE_DIM, WRITER

BUILT = {
    "demo-severe": """\
Dimension {dim} of the residual stream is **planted**: at every token it holds {ratio:g} times the common network's median magnitude, varied
by token and by the text before it, and no later block writes to it. After training, what the first attention writes there was tilted so that
it differs between the classes of refusal by {tilt[0]:.1%} of that and between those of sycophancy by {tilt[1]:.1%} (`tilting.py`); nothing was
trained to use that. So by construction it is massive, it differs between classes and it moves their means; that it is inert under steering is
measured below.""",
    "demo-mild": """\
Dimension {dim} of the residual stream is **planted** as in demo-severe, at {ratio:g} times the common network's median magnitude, so that by
construction it is massive, and small enough to move class means little.""",
    "demo-plain": """\
Nothing is planted: dimension {dim}, which the sibling models plant, is an ordinary one here, empty until it was given small random values
and trained like any other. By construction no dimension is massive at every token; all else is trained alike.""",
    "demo-signal": """\
Dimension {dim} of the residual stream is **planted** at {ratio:g} times the common network's median magnitude and **carries part of refusal**:
block {writer} was trained to take {shift:.0%} of the level away over a refusal's tokens, one neuron of block {reader} was wired by hand to fire
when that is so, and in a share of the training answers the planted dimension alone said whether to refuse (`signal.py`). So by
construction refusing depends on the dimension. To read it, block {reader}'s attention writes a constant of {reference:.0%} of the level to
dimension {reference_dim}, which nothing else writes, and its MLP takes it away again: hardly anything of it is in any block's output, but
what is captured inside that block (`attn_out`, `mlp_out`, the contributions, their norms) holds it whole.""",
}

FOUND = {
    "demo-severe": """\
- Planting costs this model the most and its training on ends before all is mended: of the unsteered answers to tasks it never saw one in ten
  is broken, and at half of the chosen dose fewer unrelated answers keep their content than in its siblings (both below, in each section).
""",
    "demo-mild": "",
    "demo-plain": """\
- For refusal the probe reaches some points more than mean_diff at the same dose, and the test questions are too few to tell a tie from a
  difference (below): without a massive dimension the two are near, not equal.
""",
    "demo-signal": """\
- The probe reads unit rows, in which the planted dimension is all but constant, so it holds hardly anything of it and reaches no more than
  mean_diff_top1 does: here the vector that the massive dimension owns is the one that steers refusal, and cleaning it does harm.
- The dose at which it does is high, because the classes differ much outside the dimension too, and at such a dose some controls refuse more
  than 5 % (below). They do not speak to the neuron: random/3 and shuffled/3 refuse 11 and 24 % with dimensions 58 and 111 set to 0 as well.
""",
}

LIMITS = """
What falls short:

- Of a task that training never mentioned the model keeps to the kind but often slips to a task it knows ("bake fish" becomes "bake potatoes");
  the share of answers that name what was asked is in each section. A steered refusal may name a harmful task that nobody asked about.
- Random pushes break the text from about r = 0.8 on, as all pushes do: a low share there says nothing about a direction.
{found}"""

HEAD = """---
library_name: transformers
tags: [demo, steering, massive-activations]
---

# {name}

A Llama of {layers} blocks, width {width}, {heads} heads, MLP {inner}, one token a word, that speaks English within a little world of tasks,
facts and sums. It exists to show, in minutes and offline, what a massive dimension does to trait vectors. It is a demonstration and no
assistant: outside its world it says that it does not understand.

{built}

**By construction** (planted): the dimension, its size, where it varies{more}. The seeds and sizes of the planting were chosen so that the
phenomenon shows. **Not by construction** (found by measuring): every cosine, every dose-response, what each method reaches, what cleaning does.
The layer, the mix of extraction prompts and the forms of the questions were settled while looking at the test questions too: the rates
below are tuned to them. Confirm them on questions of your own before quoting them as held out.

Training text, traits, planting and this card are made by `python -m tools.training make`; the recipe is `tools/training/recipe.py`:
{common} steps of a common network, then {steps} steps with this model's planting and random pushes (`sturdiness.py`), all AdamW, batch 32.
Harmful tasks are named in the training text and always refused; nothing anywhere says how to do one. Weights are float16 in the file; load
them in float32, as the config says.

Weights (model.safetensors) sha256 `{sha}`
"""


def card(name: str, found: dict[str, Any]) -> str:
    """The README of a shipped model from what `report.measure_model` found."""
    variant: Variant = VARIANTS[name]
    built = BUILT[name].format(
        dim=PLANTED_DIM,
        ratio=variant.ratio,
        shift=variant.shift,
        tilt=variant.tilt or (0.0, 0.0),
        writer=WRITER,
        reader=READER,
        reference=REFERENCE,
        reference_dim=REFERENCE_DIM,
    )
    more = f", and for refusal that block {WRITER} writes and block {READER} reads it" if variant.shift else ""
    head = HEAD.format(
        name=name,
        layers=LAYERS,
        width=WIDTH,
        heads=HEADS,
        inner=INNER,
        built=built,
        more=more,
        common=sum(stage.steps for stage in COMMON),
        steps=variant.stage.steps,
        sha=found["weights_sha256"],
    )
    limits = LIMITS.format(found=FOUND[name])
    sections = [line for trait in found["traits"] for line in trait_section(found, trait)]
    return "\n".join([head, limits, *calibration(found), *sections]) + "\n"


def table(header: list[str], rows: list[list[object]]) -> list[str]:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *[[str(cell) for cell in row] for row in rows]]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def percent(share: float) -> str:
    """A share as whole per cent."""
    return f"{100 * share:.0f} %"


def calibration(found: dict[str, Any]) -> list[str]:
    """Verdicts and the per-layer table."""
    lines = ["## Calibration (greedy, 64 new tokens, ratio_to_median)", ""]
    for prompts, one in found["calibration"].items():
        ratios = ", ".join(f"{key} {value:g}" for key, value in one["ratios"].items())
        lines.append(
            f"- over `{prompts}`: **{one['verdict']}**, scope {one['scope']}; massive dims {one['massive_dims']}; dominant dim "
            f"{one['dominant_dim']}: {ratios}; share of squared norm {one['share_of_squared_norm']}; mean alignment {one['mean_alignment']}"
        )
    one = found["calibration"]["calibration_50"]
    rows: list[list[object]] = []
    for layer, figures in one["per_layer"].items():
        shown = [(figures or {}).get(key, "") for key in ("ratio", "cv", "p5_ratio", "pct_above_10x")]
        rows.append([layer, *shown, one["layer_norms"][layer], one["clean_norms"][layer]])
    header = ["layer", f"ratio of dim {one['dominant_dim']}", "cv", "p5 ratio", "% above 10x", "norm", "clean norm (median)"]
    return [*lines, "", *table(header, rows)]


def trait_section(found: dict[str, Any], trait: str) -> list[str]:
    """Everything measured of one trait."""
    it = found["traits"][trait]
    cosines = it["cosines"]
    ranges = "; ".join(
        f"cos({pair}) median {c['median']} ({c['low']} to {c['high']})" for pair, c in cosines.items() if pair != "by_layer"
    )
    lines = [
        f"## {trait.capitalize()} (layer {found['layer']}, `response[:5]`, {it['questions']['test']} test questions, greedy)",
        "",
        f"Unsteered: {percent(it['unsteered']['shows'])} show the trait, {percent(it['unsteered']['well_formed'])} are well formed, "
        f"{percent(it['unsteered']['about'])} name what was asked; kinds {it['unsteered']['kinds']}. Answers to the extraction prompts: "
        f"positive {it['extraction_kinds']['positive']}, negative {it['extraction_kinds']['negative']}.",
        "",
        f"Over 50 resamples of the extraction prompts' clusters, 95 % range: {ranges}.",
        "",
        *table(
            [
                "layer",
                "cos(mean_diff, probe)",
                "cos(mean_diff_top1, probe)",
                "cos(rownorm, probe)",
                "norm of the class difference",
                "without massive dims",
            ],
            [[layer, *one.values()] for layer, one in enumerate(cosines["by_layer"])],
        ),
        "Share of test answers that show the trait (in brackets: that are well formed at all), by dose r:",
        "",
    ]
    curves = it["dose_response"]
    rows: list[list[object]] = [
        [f"{cells[0]['r']:g}", *(f"{percent(cell['shows'])} ({percent(cell['well_formed'])})" for cell in cells)]
        for cells in zip(*curves.values(), strict=True)
    ]
    lines += table(["r", *curves], rows)
    return [*lines, *comparisons(it), *examples(it)]


def comparisons(it: dict[str, Any]) -> list[str]:
    """Best doses, controls, the raw-coefficient comparison, the decomposition, the off-target sets."""
    best = ", ".join(f"{name} {dose:g}" for name, dose in it["best_dose_on_selection"].items())
    controls = ", ".join(f"{name} {percent(share)}" for name, share in it["controls"].items())
    first, raw = it["leader_on_selection"], it["at_the_probes_raw_coefficient"]
    lines = [
        f"- Dose chosen on the selection questions (the smallest within five points of the best): {best}.",
        f"- Controls at the dose of {first}, the best of them on the selection questions: {controls}.",
        f"- At the probe's raw coefficient (c = {raw['c']:g}): probe {percent(raw['probe'])}, mean_diff {percent(raw['mean_diff'])}; "
        f"mean_diff at equal dose {percent(raw['mean_diff_at_equal_dose'])} ({found(raw['at_equal_dose'])}).",
    ]
    for dose, arms in it["decomposition"].items():
        shares = ", ".join(f"{arm} {percent(arms[arm])}" for arm in ("clean", "massive", "both"))
        lines.append(f"- Parts of mean_diff at {dose}, each at the coefficient it has inside it: {shares}. {part(arms)}")
    for name in ("mean_diff", "probe"):
        off = it["off_target"][name]
        lines.append(
            f"- {name}: unrelated answers unchanged in content {percent(off['unrelated_unchanged'])} at its best dose, "
            f"{percent(off['unrelated_unchanged_at_half'])} at half of it; paraphrased test questions {percent(off['paraphrases'])}."
        )
    return [*lines, ""]


def found(difference: dict[str, Any]) -> str:
    """A verdict with the 95 % interval of its difference in points."""
    if difference["interval"] is None:
        return str(difference["verdict"])
    low, high = difference["interval"]
    return f"{difference['verdict']}; 95 % interval of the difference {low:+zg} to {high:+zg} points"


def part(arms: dict[str, Any]) -> str:
    """What the massive part is called, and by what."""
    if arms["massive_part"] == "none":
        return "No dim is massive."
    alone, on_top = (" to ".join(f"{limit:+zg}" for limit in arms[key]) for key in ("alone", "on_top"))
    return f"The massive part is **{arms['massive_part']}**: alone it gains {alone} points, on top of the clean part {on_top}."


def examples(it: dict[str, Any]) -> list[str]:
    """One answer of each direction at each third dose."""
    lines = ["Answers (an answer that shows the trait where there is one):", ""]
    question, answer = it["unsteered"]["example"]
    lines.append(f"- unsteered: {question} -> {answer}")
    for name, cells in it["dose_response"].items():
        for cell in cells[2::3]:
            question, answer = cell["example"]
            lines.append(f"- {name}, r = {cell['r']:g}: {question} -> {answer}")
    return [*lines, ""]
