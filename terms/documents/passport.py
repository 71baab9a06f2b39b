"""A model's passport: how its proofs ended, and the content that they are of."""

from typing import Literal

from typing_extensions import TypedDict

Outcome = Literal["passed", "limited", "refused"]


class ProofDocument(TypedDict):
    """`figure` is what was measured and `unit` what it counts."""

    name: str
    outcome: Outcome
    figure: float
    unit: str
    sentence: str


class PassportDocument(TypedDict):
    version: int
    outcome: Outcome
    reading_hash: str
    proofs: list[ProofDocument]


class ProvedContent(TypedDict):
    """`device` is a kind, "cpu" or "cuda"; `programs` the versions of the proofs and of the libraries that read and run models."""

    weight_hash: str
    tokenizer_hash: str
    config_hash: str
    dtype: str
    device: str
    programs: dict[str, int | str]
