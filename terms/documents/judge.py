"""Types of judges: the identity and the facts that results store, the outcome of a fit, the questions and responses that a judge reads, and its
raw output."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.provenance import Reading


class JudgeIdentity(Reading):
    """The identity of a judge: two judges are equal if these are; the keys after the first two differ by `kind`."""

    name: str
    version: NotRequired[int | str]
    prompt_hash: NotRequired[str]
    kind: NotRequired[str]
    model: NotRequired[str | None]
    weight_hash: NotRequired[str]
    scale: NotRequired[str]


class Accuracy(TypedDict):
    """The share of `n` held-out texts in `clusters` clusters that are classified correctly, with its 95 % limits, all from 0 to 1."""

    accuracy: float
    low: float
    high: float
    n: int
    clusters: int


class Likelihoods(TypedDict):
    """The mean log-likelihoods of a token, in nats, at which the reference judge's coherence is 100 (`base`) and 0 (`shuffled`)."""

    base: float
    shuffled: float


class JudgeFacts(TypedDict, total=False):
    """Facts about the judge that readers of its scores should know; empty if nothing was fitted.

    `counts` are the labelled texts by class, `left_out` those of them that the classifier did not learn from. `baseline` is the percentage of
    unsteered answers that show the trait, by set, with all sets together as "all". `kind`, `phrases` (their number) and `coherence_by` (the
    judge of coherence) are of the judge by phrases.
    """

    held_out_accuracy: float | None
    held_out: Accuracy | None
    tells_apart: bool | None
    counts: dict[str, int]
    left_out: int
    baseline: dict[str, float]
    log_likelihood: Likelihoods
    responses_elicited: bool
    warnings: list[str]
    kind: str
    phrases: int
    coherence_by: JudgeIdentity


class ShortJudge(TypedDict):
    """The keys of `JudgeFacts` that are shown on the job: how well a fitted judge tells the classes apart."""

    held_out_accuracy: float | None
    held_out: Accuracy | None
    tells_apart: bool | None


class ClassifierDocument(TypedDict):
    """A classifier of texts as positive, negative or neither: its n-grams in the order of the weights' columns, the pairs of words of the
    responses that it learned from, its weights [3, terms + 4] (the last four: numbers about the text's form), and its bias [3].
    """

    terms: list[str]
    known_pairs: list[str]
    weights: list[list[float]]
    bias: list[float]


class FittedDocument(TypedDict):
    """A classifier and its held-out accuracy; `left_out` are the indices of examples that it did not learn from."""

    classifier: ClassifierDocument
    held_out: Accuracy
    left_out: list[int]


class ScaleDocument(TypedDict):
    """The ends of the coherence scale, and the token ids of its fixed prompts."""

    base: float
    shuffled: float
    prompts: list[list[int]]


class BaselineDocument(TypedDict):
    """The share of unsteered answers that show the trait: over all and by set; and the set of each question."""

    overall: float
    sets: dict[str, float]
    set_of: dict[str, str]


class JudgeState(TypedDict):
    """Everything that was fitted for a judge."""

    name: str
    version: str
    classifier: ClassifierDocument
    scale: ScaleDocument
    baseline: BaselineDocument


class JudgeDocument(JudgeState):
    """A fitted judge with facts that readers of its scores should know."""

    facts: JudgeFacts


class JudgedQuestion(TypedDict):
    """A question that will be judged."""

    question: str
    system_prompt: str | None
    cluster: str
    set: str


_Class = TypedDict("_Class", {"class": str})  # `class` is a keyword, so the class syntax cannot name this field


class ClassResponse(_Class):
    """A response to a prompt of one of the trait's classes. If its token ids are missing, the text is tokenized again."""

    prompt: str
    system_prompt: str | None
    cluster: str
    response: str
    response_ids: list[int]


class RawReply(TypedDict):
    """A judge model's reply: its score, the total probability of words that are values, and its most likely first tokens."""

    score: float | None
    mass: float
    top: dict[str, float]
    reply: str
    failure: NotRequired[str]


class RawScore(TypedDict, total=False):
    """A judge's raw output for an answer: `p` to `read_after` for the reference judge, `phrase` for the judge by phrases, replies for a judge
    model, `failures` by score for any judge.
    """

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
