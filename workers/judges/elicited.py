"""The unsteered model's own answers for the reference judge, stored ones or elicited, and the share of them that shows the trait.

Runs the model; answers are stored in a job's cells only by `Preparing`. An extraction that needed five tokens of each response stored five,
too few to show the trait: `are_cut` recognises these, so that the caller elicits them again at full length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terms.documents.judge import BaselineDocument, ClassResponse
from workers.judges.material import Prompted
from workers.judges.preparing import Ids, Preparing
from workers.judges.trait_classifier import NEGATIVE, POSITIVE, TraitClassifier
from workers.lm.generation import generate_greedy
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt and its answer. `label` is the class of the prompt, `unrelated`, or `set ` and a set's name."""

    prompt: str
    cluster: str
    prompt_ids: Ids
    ids: Ids
    text: str
    label: str | None = None


def from_responses(lm: LanguageModel, responses: Sequence[ClassResponse]) -> list[AnsweredPrompt]:
    """Stored responses (lines of responses.jsonl) with their prompts' ids. Responses that an extraction left out are skipped."""
    answers = []
    for line in responses:
        if line.get("kept", True):
            ids = line.get("response_ids")
            ids = lm.tokenizer(line["response"] or "", add_special_tokens=False)["input_ids"] if ids is None else ids
            prompt_ids = tuple(encode_prompt(lm, line["prompt"], line.get("system_prompt")))
            cluster = line.get("cluster") or line["prompt"]
            answers.append(AnsweredPrompt(line["prompt"], cluster, prompt_ids, tuple(ids), line["response"] or "", line["class"]))
    return answers


def are_cut(answers: Sequence[AnsweredPrompt], max_new_tokens: int) -> bool:
    """Whether most answers have one length below `max_new_tokens`, which was then the limit for generating them."""
    longest = max((len(answer.ids) for answer in answers), default=0)
    return longest < max_new_tokens and 2 * sum(len(answer.ids) == longest for answer in answers) > len(answers)


def elicit(
    lm: LanguageModel,
    rows: Sequence[tuple[Prompted, str]],
    *,
    max_new_tokens: int,
    batch_rows: int,
    preparing: Preparing | None = None,
) -> list[AnsweredPrompt]:
    """Returns the model's greedy answers to prompts, each with its label, in order. Raises the same ModelFaults as `generate_greedy`.

    `batch_rows` applies only without `preparing`.
    """
    prompts = [tuple(encode_prompt(lm, row.text, row.system_prompt)) for row, _ in rows]
    if preparing is not None:
        answers = preparing.answers(lm, prompts, max_new_tokens)
    else:
        answers = generate_greedy(lm, prompts, max_new_tokens=max_new_tokens, batch_rows=batch_rows)
    return [
        AnsweredPrompt(row.text, row.cluster, prompt, tuple(ids), lm.tokenizer.decode(ids, skip_special_tokens=True), label)
        for prompt, ids, (row, label) in zip(prompts, answers, rows, strict=True)
    ]


@dataclass(frozen=True)
class Baseline:
    """The share of unsteered answers that show the trait, 0-1: over all questions, by set, and the set of each question. A text that shows
    neither class gets this share."""

    overall: float
    sets: Mapping[str, float]
    set_of: Mapping[str, str]

    def of(self, question: str) -> float:
        """The share in the question's set; the overall share for a question outside all sets."""
        return self.sets[self.set_of[question]] if question in self.set_of else self.overall

    def to_json(self) -> BaselineDocument:
        """The whole baseline as JSON values."""
        return {"overall": self.overall, "sets": dict(self.sets), "set_of": dict(self.set_of)}

    @classmethod
    def from_json(cls, stored: BaselineDocument) -> "Baseline":
        """Restores a baseline from the result of `to_json`."""
        return cls(stored["overall"], stored["sets"], stored["set_of"])


def measure_baseline(
    classifier: TraitClassifier, answers: Mapping[str, Sequence[AnsweredPrompt]], set_of: Mapping[str, str]
) -> Baseline:
    """The baseline from the unsteered answers by set: the share that shows the trait among the answers that show either class. 0 without
    answers."""
    together = [answer for of_set in answers.values() for answer in of_set]
    return Baseline(_share(classifier, together), {name: _share(classifier, of_set) for name, of_set in answers.items()}, set_of)


def _share(classifier: TraitClassifier, answers: Sequence[AnsweredPrompt]) -> float:
    if not answers:
        return 0.0
    p_N3 = classifier.probabilities([answer.text for answer in answers], [answer.prompt for answer in answers])
    positive, negative = (float(p_N3[:, label].sum()) for label in (POSITIVE, NEGATIVE))
    return round(positive / (positive + negative), 4)
