"""Reading an answer back: well formed or broken, and of what kind.

The parser is the grammar that wrote the training text, so a text is well formed exactly when the grammar can derive it. It
judges the text alone; whether it is about the question is `same_task`.
"""

from dataclasses import dataclass, field

from tools.training.grammar import read, words_of
from tools.training.language import ANSWER_PARTS, LEXICON, QUESTION_PARTS

BROKEN = "broken"

# What an answer says, as opposed to how: two answers with the same kind and these bindings have the same content.
CONTENT = ("task", "subject", "claimed", "one", "two")


@dataclass(frozen=True)
class Reading:
    """What the grammar makes of a text: its kind (`broken` when nothing derives it) and what its slots bound."""

    kind: str
    binds: dict[str, str] = field(default_factory=dict)

    @property
    def well_formed(self) -> bool:
        """Whether some kind of answer derives the text."""
        return self.kind != BROKEN

    @property
    def content(self) -> tuple[str, ...]:
        """Kind and content bindings; equal contents say the same in possibly other words."""
        return (self.kind, *(f"{name}={self.binds[name]}" for name in CONTENT if name in self.binds))


def read_answer(text: str) -> Reading:
    """The reading of an answer, whatever its spacing and case; an answer cut short is broken."""
    words = words_of(text)
    for kind, patterns in ANSWER_PARTS.items():
        for parts in patterns:
            binds = read(parts, LEXICON, words)
            if binds is not None:
                return Reading(kind, binds)
    return Reading(BROKEN)


def read_question(text: str) -> Reading:
    """The reading of a question: `task`, `claim`, `fact`, `sum`, `chat` or broken."""
    words = words_of(text)
    for kind, forms in QUESTION_PARTS.items():
        for form, parts in forms.items():
            binds = read(parts, LEXICON, words, {"form": form} if kind != "chat" else {})
            if binds is not None:
                return Reading(kind, {**binds, "form": form})
    return Reading(BROKEN)


def same_task(question: Reading, answer: Reading) -> bool:
    """Whether nothing the answer names differs from what the question names (the opening words aside)."""
    return all(answer.binds.get(name, value) == value for name, value in question.binds.items() if name in CONTENT)
