"""`Proof`: the result of one proof, as plain values. Imports no torch."""

from dataclasses import dataclass

from terms.documents.passport import Outcome, ProofDocument

VERSION = 4
"""Version of the proofs: passports of different versions contain different checks."""


@dataclass(frozen=True)
class Proof:
    """The result of one proof. `figure` is the measured value and `unit` what it counts; `sentence` states the result and, where something is
    wrong, what to do.

    limited: the compared part holds, but less could be compared, or the model reads texts differently from what a user expects. refused: numbers
    measured on this model would be wrong.
    """

    name: str
    outcome: Outcome
    figure: float
    unit: str
    sentence: str

    def to_dict(self) -> ProofDocument:
        """The proof as plain JSON values; `Proof(**values)` is the inverse."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "figure": self.figure,
            "unit": self.unit,
            "sentence": self.sentence,
        }
