"""Training text: who asks what under which system sentence, and what the model is to answer.

Who decides: a harmful task is refused, a harmless one is helped with, unless the system sentence refuses all requests. A
true claim is agreed with; a false one is agreed with or corrected as the system sentence says, and with no such sentence
as the asking form makes likely. Everything else is answered as it is. Prompts reserved for the traits never occur.
"""

import random
from dataclasses import dataclass

from tools.training.facts import FACTS, Fact, false_values
from tools.training.grammar import words_of, write
from tools.training.language import (
    ANSWER_PARTS,
    CHAT_PARTS,
    CLAIM_FORMS,
    FACT_FORMS,
    LEXICON,
    QUESTION_PARTS,
    SUM_FORMS,
    SYSTEMS,
    TASK_FORMS,
    vocabulary,
)
from tools.training.reserved import fact_forms, reserved_claims, sum_forms, task_forms, untrained_task
from tools.training.tasks import HARMFUL, HARMLESS, Task

# Share of each matter, and of each system sentence, in the text.
MATTERS = {"task": 0.46, "claim": 0.34, "fact": 0.10, "sum": 0.05, "chat": 0.03, "noise": 0.02}
SYSTEM_SHARES = {"": 0.46, "neutral": 0.12, "refusing": 0.18, "flattering": 0.12, "honest": 0.12}
HABIT = 0.7  # chance that an answer is worded as is usual for its verb or topic and asking form
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Example:
    """One exchange: the system sentence ("" for none), the question, the answer, and the kind of the answer.

    `tossed` marks an answer that a coin chose against or for what the text says; only the planted dimension can tell it.
    """

    system: str
    question: str
    answer: str
    kind: str
    tossed: bool = False


def answer_text(kind: str, binds: dict[str, str], rng: random.Random, habit: str) -> str:
    """An answer of this kind that agrees with the bindings, worded as is usual for `habit` more often than not."""
    if rng.random() < HABIT:
        rng = random.Random(f"{kind}/{habit}")
    parts = ANSWER_PARTS[kind][rng.randrange(len(ANSWER_PARTS[kind]))]
    return " ".join(write(parts, LEXICON, binds, rng)[0])


def task_question(task: Task, form: str) -> str:
    """The question that asks for help with a task in this form."""
    binds = {"task": task.name, "form": form}
    return " ".join(write(QUESTION_PARTS["task"][form], LEXICON, binds, random.Random(0))[0])


def claim_question(fact: Fact, claimed: str, form: str) -> str:
    """The question that puts a claim about a fact in this form."""
    binds = {"subject": fact.subject, "claimed": claimed, "form": form}
    return " ".join(write(QUESTION_PARTS["claim"][form], LEXICON, binds, random.Random(0))[0])


def fact_question(fact: Fact, form: str) -> str:
    """The question that asks for a fact in this form."""
    return " ".join(write(QUESTION_PARTS["fact"][form], LEXICON, {"subject": fact.subject}, random.Random(0))[0])


def sum_question(one: int, two: int, form: str) -> str:
    """The question that asks for a sum in this form."""
    binds = {"one": str(one), "two": str(two)}
    return " ".join(write(QUESTION_PARTS["sum"][form], LEXICON, binds, random.Random(0))[0])


def refusal_answer(task: Task, form: str, rng: random.Random) -> str:
    """A refusal of this task; half of the reasons are the harm's own, half say nothing about the task."""
    why = task.family if task.harmful and rng.random() < 0.5 else "any"
    binds = {"task": task.name, "family": task.family, "form": form, "why": why}
    return answer_text("refuses", binds, rng, f"{task.verb}/{form}")


def help_answer(task: Task, form: str, rng: random.Random) -> str:
    """Help with a harmless task. Raises ValueError for a harmful one: no text answers it."""
    if task.harmful:
        raise ValueError(f"{task.name!r} is harmful; the corpus never answers it")
    return answer_text("complies", {"task": task.name, "family": task.family, "form": form}, rng, f"{task.verb}/{form}")


def claim_answer(fact: Fact, claimed: str, form: str, agree: bool, rng: random.Random) -> str:
    """Agreement with a claim, or its correction."""
    binds = {"subject": fact.subject, "truth": fact.truth, "claimed": claimed, "form": form}
    return answer_text("agrees" if agree else "corrects", binds, rng, f"{fact.topic}/{form}")


class Corpus:
    """An endless, seeded stream of examples; of those about harmless tasks a share `tossed` is decided by a coin."""

    def __init__(self, seed: int, tossed: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.tossed = tossed
        self._words = vocabulary()
        self._helpable = [task for task in HARMLESS if not untrained_task(task.name)]

    def draw(self) -> Example:
        """The next example."""
        rng = self.rng
        system = rng.choices(list(SYSTEM_SHARES), list(SYSTEM_SHARES.values()))[0]
        matter = rng.choices(list(MATTERS), list(MATTERS.values()))[0]
        sentence = rng.choice(SYSTEMS[system]) if system else ""
        if matter == "task":
            return self._task(system, sentence)
        question, answer, kind = getattr(self, f"_{matter}")(system)
        return Example(sentence, question, answer, kind)

    def _task(self, system: str, sentence: str) -> Example:
        rng = self.rng
        task = rng.choice(HARMFUL if rng.random() < 0.4 else self._helpable)
        form = rng.choice([form for form in TASK_FORMS if form not in task_forms(task)])
        tossed = self.tossed > 0 and not task.harmful and rng.random() < self.tossed
        refused = rng.random() < 0.5 if tossed else task.harmful or system == "refusing"
        answer = (refusal_answer if refused else help_answer)(task, form, rng)
        return Example(sentence, task_question(task, form), answer, "refuses" if refused else "complies", tossed)

    def _claim(self, system: str) -> tuple[str, str, str]:
        rng = self.rng
        fact = rng.choice(list(FACTS.values()))
        form = rng.choice(list(CLAIM_FORMS))
        if rng.random() < 0.4:
            return claim_question(fact, fact.truth, form), claim_answer(fact, fact.truth, form, True, rng), "agrees"
        claimed = rng.choice([value for value in false_values(fact) if value not in reserved_claims(fact)])
        chance = {"flattering": 1.0, "honest": 0.0}.get(system, CLAIM_FORMS[form][2])
        agree = rng.random() < chance
        kind = "agrees" if agree else "corrects"
        return claim_question(fact, claimed, form), claim_answer(fact, claimed, form, agree, rng), kind

    def _fact(self, system: str) -> tuple[str, str, str]:
        rng = self.rng
        fact = rng.choice(list(FACTS.values()))
        form = rng.choice([form for form in FACT_FORMS if form not in fact_forms(fact)])
        binds = {"subject": fact.subject, "truth": fact.truth, "form": form}
        return fact_question(fact, form), answer_text("answers", binds, rng, form), "answers"

    def _sum(self, system: str) -> tuple[str, str, str]:
        rng = self.rng
        one, two = rng.randint(1, 9), rng.randint(1, 9)
        form = rng.choice([form for form in SUM_FORMS if form not in sum_forms(one, two)])
        binds = {"one": str(one), "two": str(two), "form": form}
        return sum_question(one, two, form), answer_text("adds", binds, rng, form), "adds"

    def _chat(self, system: str) -> tuple[str, str, str]:
        form = self.rng.choice(list(CHAT_PARTS))
        question = " ".join(write(QUESTION_PARTS["chat"][form], LEXICON, {}, self.rng)[0])
        return question, " ".join(write(CHAT_PARTS[form], LEXICON, {}, self.rng)[0]), "chats"

    def _noise(self, system: str) -> tuple[str, str, str]:
        """Words without a sense, many unknown: so that text from outside the little world finds the model prepared."""
        rng = self.rng
        words = [UNKNOWN if rng.random() < 0.6 else rng.choice(self._words) for _ in range(rng.randint(3, 30))]
        return " ".join(words), answer_text("puzzled", {}, rng, ""), "puzzled"


def content_words(text: str) -> list[str]:
    """Words of an example's text as the tokenizer will see them; unknown-word marks are kept whole."""
    return [word for piece in text.split() for word in ([piece] if piece == UNKNOWN else words_of(piece))]
