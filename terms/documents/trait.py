"""Types of a trait's dataset as jobs read it: every cluster and split is filled in."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class TraitPrompt(TypedDict):
    """A prompt of one class; `response` is None if a model generates the response."""

    prompt: str
    system_prompt: str | None
    cluster: str
    response: str | None


class TraitQuestion(TypedDict):
    """A question to steer on."""

    question: str
    system_prompt: str | None
    cluster: str
    split: Literal["selection", "test"]


class TraitAside(TypedDict):
    """A rephrased or unrelated question."""

    question: str
    cluster: str


class TraitSteering(TypedDict):
    """The trait's questions to steer on, the question for a judge model (None: the service's own), and whether to raise or lower it."""

    questions: list[TraitQuestion]
    eval_prompt: str | None
    direction: Literal["positive", "negative"]


class TraitDataset(TypedDict):
    """The whole dataset of a trait."""

    name: str
    definition: str
    positive: list[TraitPrompt]
    negative: list[TraitPrompt]
    steering: TraitSteering
    paraphrases: list[TraitAside]
    unrelated: list[TraitAside]
    made_for: NotRequired[Literal["demo models"]]


class TraitCounts(TypedDict):
    """Numbers of a trait's prompts, questions and clusters as stored in its row, with the clusters that parts share; `notes`: of its upload."""

    positive: int
    negative: int
    selection: int
    test: int
    paraphrases: int
    unrelated: int
    system_prompts: int
    given_responses: int
    clusters: dict[str, int]
    shared: dict[str, list[str]]
    made_for: NotRequired[Literal["demo models"]]
    notes: NotRequired[list[str]]
