"""Types of a model's passport: the outcome of its proofs, and the content that they apply to."""

from typing import Literal

from typing_extensions import TypedDict

Outcome = Literal["passed", "limited", "refused"]


class ProofDocument(TypedDict):
    """A proof in a passport: its outcome, the measured `figure` with its `unit`, and a sentence about it."""

    name: str
    outcome: Outcome
    figure: float
    unit: str
    sentence: str


class PassportDocument(TypedDict):
    """A stored passport: the outcome of all proofs together, and each proof."""

    version: int
    outcome: Outcome
    reading_hash: str
    proofs: list[ProofDocument]


class ProvedContent(TypedDict):
    """The content and the conditions that a passport is valid for.

    `device` is a kind, "cpu" or "cuda"; `programs` are the versions of the proofs and of the libraries that read and run models.
    """

    weight_hash: str
    tokenizer_hash: str
    config_hash: str
    dtype: str
    device: str
    programs: dict[str, int | str]


class ProvedOutcome(TypedDict):
    """What a prove job gives, as its outcome or as the facts of a refusal. `key` is the sha256 of `content`; `stored`: of an earlier proof."""

    key: str
    content: ProvedContent
    passport: PassportDocument
    stored: bool


class ProvedModel(TypedDict):
    """A model's passport as its prove job shows it."""

    name: str | None
    outcome: Outcome
    reading_hash: str
    proofs: list[ProofDocument]
    proofs_version: int
    stored: bool


class ProvedResult(TypedDict):
    """A prove job's stored result."""

    model: ProvedModel
