"""The judge that needs no second model: a classifier of the trait's own responses, and the model's own likelihood of a text.

    trait = 100 (P(positive) + P(neither) x b)

b is the share that shows the trait among the unsteered model's answers, to the same set of questions, that show either class: a text that shows
neither class keeps the score at the unsteered baseline, whether the trait is strengthened or suppressed. Coherence comes from `coherence`.
Source: docs/science.md, 4.7.

It knows the trait only as THIS model's responses express it. It misreads a model that expresses the trait otherwise when steered; the agreement
with labels (`agreement`) shows this.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from terms.documents.judge import JudgeDocument, JudgeFacts, JudgeIdentity, JudgeState, RawScore
from workers.job import JobFault
from workers.judges.base import NO_SCALE, JudgeItem, Score, done
from workers.judges.coherence import CoherenceScale, Reader, Reading, fit_scale
from workers.judges.elicited import (
    AnsweredPrompt,
    Baseline,
    are_cut,
    elicit,
    from_responses,
    measure_baseline,
)
from workers.judges.material import CLASSES, Material
from workers.judges.preparing import Preparing
from workers.judges.trait_classifier import NEGATIVE, NEITHER, POSITIVE, Example, Fitted, TraitClassifier, fit, neither_of
from workers.lm.kept_prompts import USUAL_ROOM
from workers.lm.model import LanguageModel

NAME, VERSION = "reference", "1"
BATCH_ROWS = 64
SEED = 0


class ReferenceJudge:
    """A judge fitted for one trait on one model. Without `lm` it can still recompute scores from their stored `raw` (`rescore`)."""

    uses_device = True

    def __init__(
        self,
        lm: LanguageModel | None,
        classifier: TraitClassifier,
        scale: CoherenceScale,
        *,
        baseline: Baseline,
        facts: JudgeFacts,
        reader: Reader | None,
    ) -> None:
        self._lm, self._classifier, self._scale = lm, classifier, scale
        self._baseline, self.facts, self._reader = baseline, facts, reader
        self._tally: Counter[str] = Counter()
        state = json.dumps(self._state(), sort_keys=True, separators=(",", ":"))
        self._hash = hashlib.sha256(state.encode()).hexdigest()

    @classmethod
    def fit(
        cls,
        lm: LanguageModel,
        material: Material,
        *,
        batch_rows: int = BATCH_ROWS,
        room: int = USUAL_ROOM,
        preparing: Preparing | None = None,
    ) -> "ReferenceJudge":
        """Fits the judge of the material's trait on `lm`. `preparing` stores partial results; `room` is that of `Reader`.

        The judge learns the trait from the kept responses, or from the model's own answers if there are no responses or they are shorter than
        the answers to be judged. The model's own answers set the scale of coherence where responses were given with the dataset; its answers to
        questions set the baseline.

        Raises JobFault judge_not_fitted when a class has no text, and the ModelFaults of generation.
        """
        stored = from_responses(lm, material.responses or ())
        elicited = not stored or (not material.given and are_cut(stored, material.max_new_tokens))
        asked = material.asked(labelled=elicited or material.given)
        own = elicit(lm, asked, max_new_tokens=material.max_new_tokens, batch_rows=batch_rows, preparing=preparing)
        shown = [answer for answer in own if answer.label in CLASSES]
        labelled = shown if elicited else stored
        try:
            fitted = _fit_classifier(labelled, [answer.text for answer in own if answer.label == "unrelated"], preparing)
            texts = (
                [(answer.prompt_ids, answer.ids) for answer in shown or labelled if answer.label == name] for name in CLASSES
            )
            scale = fit_scale(lm, *texts, batch_rows=batch_rows, seed=SEED, preparing=preparing)
        except ValueError as error:
            raise JobFault(
                "judge_not_fitted",
                f"The reference judge learns the trait from the responses to its prompts, and there is {error}. "
                "Request more new tokens, check that the model answers the trait's prompts, or name another judge.",
            ) from error
        baseline = _baseline(fitted.classifier, own, material)
        facts = _facts(fitted, labelled, scale, baseline, elicited=elicited)
        reader = Reader(lm, scale, batch_rows=batch_rows, room=room)
        return cls(lm, fitted.classifier, scale, baseline=baseline, facts=facts, reader=reader)

    @property
    def identity(self) -> JudgeIdentity:
        """The judge's name, version, and the hash of everything that was fitted."""
        return {"name": NAME, "version": VERSION, "prompt_hash": self._hash}

    @property
    def tally(self) -> Mapping[str, int]:
        """Counts of items judged, of items without a coherence score, and of likelihoods read, several for a text."""
        return dict(self._tally)

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        """Returns scores in order. Equal answers to equal prompts are read once, so large calls are faster. `raw` keeps the inputs of
        `rescore`."""
        if self._reader is None:
            raise ValueError("this judge has no model: rescore stored readings, or give it one")
        rows = [(tuple(item.prompt_ids), self._ids(item)) for item in items]
        readings = self._reader.read(rows, on_rows=lambda read: self._tally.update(read=read))
        return self._scores(items, readings)

    def submit(self, items: Sequence[JudgeItem]) -> "Future[list[Score]]":
        """Runs `score` at once and returns its result, because the judge runs on the device that generates."""
        return done(self.score(items))

    def close(self) -> None:
        """Frees the memory of the kept prompts."""
        if self._reader is not None:
            self._reader.release()

    def rescore(self, items: Sequence[JudgeItem], raws: Sequence[RawScore]) -> list[Score]:
        """Recomputes scores of the same items from the `raw` of their earlier scores by a judge of the same model; needs no model."""
        readings = [Reading(raw.get("log_likelihood"), raw.get("repeated", 0.0), raw.get("read_after", -1)) for raw in raws]
        return self._scores(items, readings)

    def to_json(self) -> JudgeDocument:
        """The whole fitted judge as JSON values."""
        return {**self._state(), "facts": self.facts}

    @classmethod
    def from_json(
        cls, stored: JudgeDocument, lm: LanguageModel | None = None, *, batch_rows: int = BATCH_ROWS, room: int = USUAL_ROOM
    ) -> "ReferenceJudge":
        """Restores a judge from the result of `to_json`."""
        classifier, scale = TraitClassifier.from_json(stored["classifier"]), CoherenceScale.from_json(stored["scale"])
        reader = None if lm is None else Reader(lm, scale, batch_rows=batch_rows, room=room)
        return cls(lm, classifier, scale, baseline=Baseline.from_json(stored["baseline"]), facts=stored["facts"], reader=reader)

    def _state(self) -> JudgeState:
        return {
            "name": NAME,
            "version": VERSION,
            "classifier": self._classifier.to_json(),
            "scale": self._scale.to_json(),
            "baseline": self._baseline.to_json(),
        }

    def _ids(self, item: JudgeItem) -> tuple[int, ...]:
        assert self._lm is not None
        if item.ids or not item.text:
            return tuple(item.ids)
        return tuple(self._lm.tokenizer(item.text, add_special_tokens=False)["input_ids"])

    def _scores(self, items: Sequence[JudgeItem], readings: Sequence[Reading]) -> list[Score]:
        classes = self._classifier.probabilities([item.text for item in items], [item.question for item in items])
        scores = []
        for item, reading, row in zip(items, readings, classes, strict=True):
            p = [round(float(value), 4) for value in row]
            empty = not item.text.strip()
            b = self._baseline.of(item.question)
            trait = 100 * (b if empty else p[POSITIVE] + p[NEITHER] * b)
            coherence = 0.0 if empty else self._scale.coherence(reading)
            raw: RawScore = {
                "p": p,
                "log_likelihood": reading.log_likelihood,
                "repeated": round(reading.repeated, 4),
                "read_after": reading.read_after,
            }
            if coherence is None:
                raw["failures"] = {"coherence": NO_SCALE if reading.log_likelihood is not None else "does not fit the context"}
                self._tally["failures"] += 1
            scores.append(Score(round(trait, 2), coherence, None, raw))
        self._tally["items"] += len(items)
        return scores


def _baseline(classifier: TraitClassifier, own: Sequence[AnsweredPrompt], material: Material) -> Baseline:
    """Measures the baseline. A question in two sets counts for the first."""
    sets = material.sets
    answers = {name: [answer for answer in own if answer.label == f"set {name}"] for name in sets}
    set_of = {row["question"]: name for name in reversed(list(sets)) for row in sets[name]}
    return measure_baseline(classifier, answers, set_of)


def _fit_classifier(labelled: Sequence[AnsweredPrompt], unrelated: Sequence[str], preparing: Preparing | None) -> Fitted:
    stored = None if preparing is None else preparing.kept_classifier()
    if stored is not None:
        return Fitted.from_json(stored)
    names = {"positive": POSITIVE, "negative": NEGATIVE}
    said = [
        Example(answer.text, answer.prompt, names[str(answer.label)], answer.cluster)
        for answer in labelled
        if answer.text.strip()
    ]
    fitted = fit(said, neither_of(said, unrelated, seed=SEED), seed=SEED)
    if preparing is not None:
        preparing.keep_classifier(fitted.to_json())
    return fitted


def _facts(
    fitted: Fitted, labelled: Sequence[AnsweredPrompt], scale: CoherenceScale, baseline: Baseline, *, elicited: bool
) -> JudgeFacts:
    """The facts of the fit that a reader of the scores needs."""
    counts = Counter(str(answer.label) for answer in labelled if answer.text.strip())
    warnings = []
    told = fitted.held_out
    if not told.tells_apart:
        warnings.append(
            f"The responses of the two classes hardly differ: on held-out clusters {100 * told.accuracy:.0f} % "
            f"[{100 * told.low:.0f}, {100 * told.high:.0f}] are classified correctly (50 % is chance). The trait score is unreliable here."
        )
    return {
        "held_out_accuracy": told.accuracy,
        "held_out": told.to_json(),
        "tells_apart": told.tells_apart,
        "counts": dict(counts),
        "left_out": len(fitted.left_out),
        "baseline": {name: round(100 * value, 2) for name, value in {"all": baseline.overall, **baseline.sets}.items()},
        "log_likelihood": {"base": scale.base, "shuffled": scale.shuffled},
        "responses_elicited": elicited,
        "warnings": warnings,
    }
