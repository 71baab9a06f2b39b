"""What is kept of a judge: what fitting it made, as JSON, and the questions and responses that it reads."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.steering import Accuracy, JudgeFacts


class ClassifierDocument(TypedDict):
    """The n-grams and pairs of words that a classifier knows, in order, with its weights [3, terms + 4] and bias [3]."""

    terms: list[str]
    known_pairs: list[str]
    weights: list[list[float]]
    bias: list[float]


class FittedDocument(TypedDict):
    """A classifier and how it came out; `left_out` are the places of examples that it did not learn from."""

    classifier: ClassifierDocument
    held_out: Accuracy
    left_out: list[int]


class ScaleDocument(TypedDict):
    """The ends of the scale of coherence, and the token ids of its fixed prompts."""

    base: float
    shuffled: float
    prompts: list[list[int]]


class BaselineDocument(TypedDict):
    """The share of unsteered answers that shows the trait: over all, by set, and the set of each question."""

    overall: float
    sets: dict[str, float]
    set_of: dict[str, str]


class JudgeState(TypedDict):
    """Everything that was fitted."""

    name: str
    version: str
    classifier: ClassifierDocument
    scale: ScaleDocument
    baseline: BaselineDocument


class JudgeDocument(JudgeState):
    """A fitted judge with what a reader of its scores should know."""

    facts: JudgeFacts


class JudgedQuestion(TypedDict):
    """A question that will be judged."""

    question: str
    system_prompt: str | None
    cluster: str
    set: str


_Class = TypedDict("_Class", {"class": str})  # a keyword cannot name a field of a class


class ClassResponse(_Class):
    """A response to a prompt of one of the trait's classes. Without its token ids, the text is read again."""

    prompt: str
    system_prompt: str | None
    cluster: str
    response: str
    response_ids: list[int]


class RawReply(TypedDict):
    """A judge model's reply: its score, the probability of all words that are values, and its likeliest first tokens."""

    score: float | None
    mass: float
    top: dict[str, float]
    reply: str
    failure: NotRequired[str]


class RawScore(TypedDict, total=False):
    """What a judge saw of one answer. Of the reference judge `p` to `read_after`; of a judge model its replies; `failures` of any, by score."""

    p: list[float]
    log_likelihood: float | None
    repeated: float
    read_after: int
    phrase: str | None
    trait: RawReply
    coherence: RawReply
    relevance: RawReply
    failures: dict[str, str]
    cut_at: int
    coherence_before_cap: float
