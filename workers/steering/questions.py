"""The questions of a steering by set: `selection` (on which doses are chosen), `test` (reported), and the extra sets of a trait.

Selection and test share no cluster. A limit takes questions from the clusters in turn, so that as many clusters as possible stay.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from terms.documents.judge import JudgedQuestion
from terms.documents.trait import TraitDataset, TraitQuestion
from terms.evidence import REFERENCE_QUESTIONS
from terms.specs import AskedQuestion, SteeringSpec
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt

PROMPT_ONLY = "prompt only"


@dataclass(frozen=True)
class Asked:
    """One question of a trait or of a request, not yet encoded. `expected` is the right answer, for questions that have a right answer."""

    question: str
    system_prompt: str | None
    cluster: str
    expected: str | None = None


@dataclass(frozen=True)
class Question:
    """One encoded question: `prompt_ids` end where the answer begins. `expected` is the right answer, for questions that have a right answer."""

    index: int
    set: str
    question: str
    system_prompt: str | None
    cluster: str
    prompt_ids: tuple[int, ...]
    expected: str | None = None

    def described(self) -> JudgedQuestion:
        """The question as given to a judge, without its index or its tokens."""
        return {"question": self.question, "system_prompt": self.system_prompt, "cluster": self.cluster, "set": self.set}


def question_sets(lm: LanguageModel, spec: SteeringSpec, trait: TraitDataset) -> dict[str, list[Question]]:
    """Encodes every set that the spec requests and checks that each question fits the context with its answer.

    Raises ModelFault no_questions, prompt_too_long, chat_template_failed, each naming the question.
    """
    own = spec.get("questions")
    selection = [_asked(entry) for entry in own["selection"]] if own else _of_split(trait, "selection")
    test = [_asked(entry) for entry in own["test"]] if own else _of_split(trait, "test")
    texts = {
        "selection": clusters_in_turn(selection, spec.get("selection_limit")),
        "test": clusters_in_turn(test, spec.get("test_limit")),
    }
    for extra in spec.get("extra_sets", ()):
        texts[extra] = [Asked(aside["question"], None, aside.get("cluster") or aside["question"]) for aside in trait[extra]]
    if capability := spec.get("capability"):
        texts["capability"] = [_asked(entry, entry["answer"]) for entry in capability]
    if spec.get("reference_protocol"):
        texts["reference"] = [_asked(entry) for entry in trait["steering"]["questions"][:REFERENCE_QUESTIONS]]
    for name, questions in texts.items():
        if not questions:
            raise ModelFault("no_questions", f"There is no {name} question: neither the trait nor the request has any.")
    return {name: encode(lm, name, questions, spec["max_new_tokens"]) for name, questions in texts.items()}


def later_sets(
    lm: LanguageModel, spec: SteeringSpec, trait: TraitDataset, others: Mapping[str, TraitDataset], test: Sequence[Question]
) -> dict[str, list[Question]]:
    """Encodes the questions of the last stages: `prompt only` where requested, and `off_target:NAME` for each of the other traits.

    They are encoded at the start too, so that a question that does not fit ends the job before any answer. Raises as `question_sets` does.
    """
    sets = {f"off_target:{name}": off_target_questions(lm, spec, other, name) for name, other in others.items()}
    if spec["controls"]["prompt_only"]:
        sets[PROMPT_ONLY] = asking_for_the_trait(lm, test, trait, spec["max_new_tokens"])
    return sets


def off_target_questions(lm: LanguageModel, spec: SteeringSpec, trait: TraitDataset, name: str) -> list[Question]:
    """Encodes the test questions of another trait, called `name`. Raises ModelFault no_questions, prompt_too_long, chat_template_failed."""
    listed = _of_split(trait, "test")
    if not listed:
        raise ModelFault("no_questions", f"{name}, a trait of off_target, has no test question.")
    return encode(lm, f"off_target:{name}", clusters_in_turn(listed, spec["test_limit"]), spec["max_new_tokens"])


def _of_split(trait: TraitDataset, split: Literal["selection", "test"]) -> list[Asked]:
    return [_asked(entry) for entry in trait["steering"]["questions"] if entry["split"] == split]


def _asked(entry: AskedQuestion | TraitQuestion, expected: str | None = None) -> Asked:
    """The question of an entry. A question without a cluster forms a cluster by itself."""
    return Asked(entry["question"], entry.get("system_prompt"), entry.get("cluster") or entry["question"], expected)


def clusters_in_turn(questions: Sequence[Asked], limit: int | None) -> list[Asked]:
    """At most `limit` questions: the first of every cluster, then the second of every cluster, in the order given."""
    if limit is None or len(questions) <= limit:
        return list(questions)
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for place, asked in enumerate(questions):
        turns.append((seen[asked.cluster], place))
        seen[asked.cluster] += 1
    return [questions[place] for place in sorted(place for _, place in sorted(turns)[:limit])]


def encode(lm: LanguageModel, name: str, questions: Sequence[Asked], new_tokens: int) -> list[Question]:
    """Encodes one set as Questions."""
    encoded = []
    for index, asked in enumerate(questions):
        try:
            ids = tuple(encode_prompt(lm, asked.question, asked.system_prompt))
            lm.check_ids(ids, new_tokens)
        except ModelFault as fault:
            raise ModelFault(fault.code, f"Question {index} of the {name} set: {fault.sentence}") from fault
        encoded.append(Question(index, name, asked.question, asked.system_prompt, asked.cluster, ids, asked.expected))
    return encoded


def asking_for_the_trait(
    lm: LanguageModel, questions: Sequence[Question], trait: TraitDataset, new_tokens: int
) -> list[Question]:
    """The prompt-only control: the same questions under a system prompt that requests the trait (or its absence).

    Raises ModelFault prompt_too_long, chat_template_failed.
    """
    less = trait["steering"]["direction"] == "negative"
    system = f"In every answer be {'low' if less else 'high'} in {trait['name'].replace('_', ' ')}. {' '.join(trait['definition'].split())}"
    asked = [
        Asked(question.question, f"{question.system_prompt}\n{system}" if question.system_prompt else system, question.cluster)
        for question in questions
    ]
    try:
        return encode(lm, questions[0].set, asked, new_tokens)
    except ModelFault as fault:
        raise ModelFault(
            fault.code,
            f"The prompt-only control puts the trait's definition before each question. {fault.sentence} "
            "A shorter definition helps too, and so does leaving the control out (/controls/prompt_only false).",
        ) from fault
