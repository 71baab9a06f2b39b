"""Writes the answer at the top of a job's page, from its stored result. Pure. If the result lacks a number, the answer is shorter.

Sentences contain no field names and no ids. Results of earlier versions may lack any field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.jobs.schemas import JobOut
from app.jobs.specs import extraction_spec
from app.jobs.states import FINISHED, State
from app.pages.forms.again import form_of
from app.pages.forms.labels import labelled
from app.pages.texts.places import method_name, places_of
from app.pages.wording import interval, listed, number, percent, points
from binnacle.words.counting import counted
from binnacle.words.emergence import ranges
from binnacle.words.evidence import lacking, of_asked
from binnacle.words.judging import cannot_tell
from binnacle.words.massive import LIMITS
from binnacle.words.rounding import digits
from terms.documents.calibration import Aggregate, MassiveDims, Severity
from terms.documents.extraction import ExtractionSummary
from terms.documents.generation import Answered
from terms.documents.steering import ShortSummary
from terms.documents.study import Finding, Missing
from terms.specs import ExtractionSpec
from terms.values import JsonField

Tone = Literal["good", "care", "bad", "plain"]


@dataclass(frozen=True)
class Answer:
    """The main sentence, the text that follows it, and its style."""

    sentence: str
    more: str = ""
    tone: Tone = "plain"


def answer(job: JobOut, aggregate: Aggregate | None = None) -> Answer:
    """Returns what the job found. `aggregate`: the one in a calibration's calibration.json, which adds where the dimension emerges."""
    if job.state == State.FAILED:
        why = (job.error or {}).get("detail") or "no reason was stored."
        return Answer(f"Failed: {_sentence(labelled(form_of(job), why))}", tone="bad")
    if job.state == State.CANCELLED:
        return Answer("Cancelled before it was finished.", "Retry makes a new job that reuses the finished parts.", "care")
    if job.state not in FINISHED:
        return Answer("No answer yet.", "This page follows the job until it ends.")
    result = job.result or {}

    threshold = job.spec.get("coherence_threshold")
    least = float(threshold) if isinstance(threshold, int | float) else None

    def part(name: str) -> JsonField:
        return result.get(name) or {}

    maker = {
        "calibrate": lambda: calibration(part("calibration").get("severity"), part("calibration").get("massive_dims"), aggregate),
        "extract": lambda: extraction(extraction_spec(job), part("extraction").get("summary")),
        "steer": lambda: steering(part("steering").get("summary"), least),
        "rescore": lambda: steering(part("steering").get("summary"), least),
        "report": lambda: study(part("study").get("recommendations") or [], part("study").get("missing") or []),
        "generate": lambda: generation(result.get("answers") or []),
        "export": lambda: Answer("The export is ready to download below."),
    }.get(job.kind)
    return maker() if maker is not None else Answer("Finished.")


def calibration(severity: Severity | None, massive: MassiveDims | None, aggregate: Aggregate | None) -> Answer:
    """Returns how severe the model's massive dimensions are."""
    if not severity or severity.get("verdict") is None or severity.get("dominant_dim") is None:
        return Answer("The calibration is finished; it stored no verdict.", tone="care")
    verdict, dim, ratios = severity["verdict"], severity["dominant_dim"], severity.get("ratios")
    ratio = ratios.get("ratio_to_median") if ratios else None
    dims = (massive.get("dims") if massive else None) or []
    if verdict == "none":
        size = f": the largest, {dim}, is {number(ratio, digits(ratio, LIMITS, 3))} times the median" if ratio is not None else ""
        if dims:
            more = f"{_massive_somewhere(dims, aggregate)} Cleaning sets {'it' if len(dims) == 1 else 'them'} to zero there."
            return Answer(f"No massive dimension in the middle layers{size}.", more, "care")
        return Answer(f"No massive dimension{size}.", "Cleaning changes nothing on this model.", "good")
    share = severity.get("share_of_squared_norm")
    holds = "dominates the norm" if share is None else f"holds {_held(aggregate, dim, share)}"
    some = " at some tokens only" if severity.get("scope") == "token_local" else ""
    also = _massive_somewhere(dims, None) if dims else ""
    tone: Tone = "bad" if verdict == "severe" else "care"
    return Answer(f"{verdict.capitalize()}: dimension {dim} {holds}{some}.", also, tone)


def _massive_somewhere(dims: Sequence[int], aggregate: Aggregate | None) -> str:
    """Returns how many dimensions are massive, and in which layers, where the file's own list by layer is given."""
    by_layer = (aggregate.get("massive_by_layer") or {}) if aggregate else {}
    layers = sorted(int(layer) for layer, massive in by_layer.items() if massive)
    where = "at some layer" if not layers else f"at layer {layers[0]}" if len(layers) == 1 else f"in layers {ranges(layers)}"
    return f"{counted(len(dims), 'dimension')} {'is' if len(dims) == 1 else 'are'} massive {where}."


def _held(aggregate: Aggregate | None, dim: int, median: float) -> str:
    """Returns the dimension's least and largest share of the squared norm at the layers at which it has at least half of the median share, and
    these layers. Without the file's own shares, returns the median, which is over the middle layers.
    """
    by_layer = (aggregate.get("norm_share") or {}) if aggregate else {}
    shares = {int(layer): dims.get(str(dim), 0.0) for layer, dims in by_layer.items()}
    held = [layer for layer in sorted(shares) if shares[layer] >= median / 2]
    if not held:
        return f"{percent(median)} of the squared norm (median of the middle layers)"
    least, largest = (percent(limit(shares[layer] for layer in held)) for limit in (min, max))
    return f"{least if least == largest else f'{least} to {largest}'} of the squared norm{_where(held, sorted(shares))}"


def _where(held: Sequence[int], layers: Sequence[int]) -> str:
    """Returns in words which of the layers are held."""
    contiguous = list(held) == [layer for layer in layers if held[0] <= layer <= held[-1]]
    if contiguous and held[-1] == layers[-1]:
        return f" from layer {held[0]} on" if held[0] > layers[0] else " at every layer"
    return f" at layer {held[0]}" if len(held) == 1 else f" in layers {ranges(held)}"


def steering(summary: ShortSummary | None, least: float | None = None) -> Answer:
    """Returns which method to use, at which layer and dose, and its gain; a warning where its mean coherence is below `least`."""
    methods = summary.get("methods") if summary else None
    rows = methods if isinstance(methods, list) else []
    leader = next((row for row in rows if summary and row.get("group") == summary.get("leader")), None)
    if summary is None or leader is None or leader.get("delta") is None:
        return Answer("No answer: no method could be steered at any dose.", "The reasons are below.", "care")
    test, scored = (summary.get("questions") or {}).get("test"), leader.get("scored")
    asked = f" on {of_asked(scored.get('n') if scored else None, test['n'], 'held-out question')}" if test else ""
    dose = f", dose {number(leader.get('r'))}" if leader.get("r") is not None else ""
    places = places_of(row["group"] for row in rows)
    name = method_name(leader["group"], places)
    where = f"{name}{',' if len(places) > 1 else ' at'} {layers_named(leader['layers'])}{dose}"
    low, high, delta = leader.get("delta_low"), leader.get("delta_high"), leader["delta"]
    gain = f"{points(delta)} points{interval(low, high)}{asked}"
    coherence = leader.get("coherence")
    lost = ""
    if coherence is not None and least is not None and coherence < least:
        shown = number(coherence, digits(coherence, [least], 3))
        lost = f", but its answers have a coherence of {shown} out of 100, and at least {least:g} was requested"
    lack = lacking(summary)
    if lack is not None or low is None or high is None:
        why, needed = lack or ("Not enough evidence: no interval.", "")
        judge = summary.get("judge")
        how = "How to use another judge is explained below." if judge and cannot_tell(judge) else ""
        return Answer(why, " ".join(filter(None, [f"The best so far is {where}: {gain}{lost}.", needed, how])), "care")
    kept = f"Answers keep a coherence of {number(coherence)} out of 100." if coherence is not None else ""
    if high < 0:
        return Answer(f"Do not steer: the best method, {where}, loses. Gain {gain}.", kept, "bad")
    if low <= 0:
        return Answer(f"No reliable effect: the best method, {where}, gains {gain}.", kept, "care")
    if lost:
        joint = leader.get("delta_joint")
        more = "" if joint is None else f"Coherent answers on target: {points(joint)} points."
        return Answer(f"Careful: the best method, {where}, gains {gain}{lost}.", more, "care")
    return Answer(f"Use {where}. Gain {gain}.", kept, "good")


def study(findings: Sequence[Finding], missing: Sequence[Missing]) -> Answer:
    """Returns what the study recommends; a card for each model follows below."""
    partial = f"Partial: {counted(len(missing), 'job')} of the study did not finish. " if missing else ""
    models = list(dict.fromkeys(finding["model"] for finding in findings))
    if not findings:
        said = "No recommendation: " + ("the results that it needs are missing." if missing else "the study asked for none.")
        return Answer(f"{partial}{said}", tone="care" if missing else "plain")
    first = findings[0]
    more = f"Recommendations for {listed(models)} are below." if len(models) > 1 else first.get("because", "")
    return Answer(f"{partial}{first['model']}: {_sentence(first['sentence'])}", more, "care" if missing else "plain")


def extraction(spec: ExtractionSpec, summary: ExtractionSummary | None) -> Answer:
    """Returns which vectors were made, from how many examples."""
    if not summary or summary.get("vectors") is None or summary.get("examples") is None:
        return Answer("The vectors are ready to download below.")
    vectors, examples = summary["vectors"], summary["examples"]
    trait = spec["trait"]["name"] if spec.get("trait") else "the trait"
    held = f", {summary['validation']} of them held out" if summary.get("validation") else ""
    empty = max((summary.get("empty_windows") or {"": 0}).values())
    left_out = "was left out" if empty == 1 else "were left out"
    more = f"{counted(empty, 'example')} without tokens at the position {left_out}." if empty else ""
    return Answer(f"{counted(vectors, 'vector')} of {trait} from {counted(examples, 'example')}{held}.", more, "good")


def generation(answers: Sequence[Answered]) -> Answer:
    """Returns the number of answers, and whether a steering broke any of them."""
    if not answers:
        return Answer("No answers were stored.", tone="care")
    prompts = len({(answered.get("system_prompt"), answered["prompt"]) for answered in answers})
    doses = sorted({r for answered in answers if (r := answered.get("r")) is not None})
    steered = any(answered.get("vector") or answered.get("fires") for answered in answers)
    how = "unsteered"
    if doses:
        how += f" and at {'dose' if len(doses) == 1 else 'doses'} {listed([number(r) for r in doses], 6)}"
    elif steered:  # ablated, or at coefficients without a dose
        how += " and steered"
    broken = sum(not answered.get("finite", True) for answered in answers)
    more = f"{counted(broken, 'answer')} broke down: the push was too strong." if broken else ""
    said = f"{counted(len(answers), 'answer')} to {counted(prompts, 'prompt')}, {how}."
    return Answer(said, more, "care" if broken else "good")


def layers_named(layers: list[int]) -> str:
    """Returns layers in words: `layer 14`, `layers 3, 5`."""
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
