"""A model's passport: how its proofs ended, and the content that they are of."""

from typing import Literal

from typing_extensions import TypedDict

Outcome = Literal["passed", "limited", "refused"]


class ProofDocument(TypedDict):
    """One proof of a passport: how it ended, the measured `figure` with its `unit`, and a sentence about it."""

    name: str
    outcome: Outcome
    figure: float
    unit: str
    sentence: str


class PassportDocument(TypedDict):
    """A passport as it is stored: the outcome of all proofs together, and each proof."""

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
