"""The passport: every proof of one loaded model, and a hash of how its prompts and answers become ids.

    lm = load("/models/my-model")
    passport = prove(lm)
    print(passport.outcome, *(proof.sentence for proof in passport.proofs), sep="\\n")

`progress` and `check` let a program show progress and stop the proofs; nothing here depends on jobs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from terms.documents.passport import Outcome, PassportDocument
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.model import LanguageModel
from workers.lm.proofs.addends import addends
from workers.lm.proofs.causality import causality
from workers.lm.proofs.outcome import VERSION, Proof
from workers.lm.proofs.paths import paths_agree
from workers.lm.proofs.prompt import prompt_text
from workers.lm.proofs.reading import reading_hash
from workers.lm.proofs.same_files import same_files
from workers.lm.proofs.tokenizer import tokenizer_ids
from workers.lm.proofs.turn_end import answer_end

CONTRADICTIONS = (ValueError, TypeError, LookupError)
"""Errors that the library raises for a model with a config that contradicts itself."""
Check = Callable[[], None]
PROOFS: Mapping[str, Callable[[LanguageModel, Check], Proof]] = {
    "same files": lambda lm, _check: same_files(lm.folder, lm.facts),
    "tokenizer": lambda lm, _check: tokenizer_ids(lm),
    "prompt": lambda lm, _check: prompt_text(lm),
    "turn end": lambda lm, _check: answer_end(lm),
    "causality": lambda lm, _check: causality(lm),
    "paths agree": paths_agree,
    "addends": lambda lm, _check: addends(lm),
}


@dataclass(frozen=True)
class Passport:
    """The proofs in the order of PROOFS. `reading_hash` identifies how texts are read: equal hashes mean the same ids for texts and prompts, the
    same ends of answers and the same masks, so results may be compared. Empty where the model cannot be run at all."""

    version: int
    proofs: tuple[Proof, ...]
    reading_hash: str

    @property
    def outcome(self) -> Outcome:
        """The worst of the proofs' outcomes."""
        outcomes = {proof.outcome for proof in self.proofs}
        return "refused" if "refused" in outcomes else "limited" if "limited" in outcomes else "passed"

    def to_dict(self) -> PassportDocument:
        """The passport as plain JSON values."""
        return {
            "version": self.version,
            "outcome": self.outcome,
            "reading_hash": self.reading_hash,
            "proofs": [proof.to_dict() for proof in self.proofs],
        }


def prove(
    lm: LanguageModel,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    check: Check = lambda: None,
    run: Callable[[str, Callable[[], Proof]], Proof] = lambda _name, proof: proof(),
) -> Passport:
    """Runs all proofs of a loaded model. `progress(done, total)` counts proofs; `check()` is called between steps and may raise to stop.
    `run(name, proof)` returns a proof's result, from calling `proof` or from an earlier attempt on the same files.

    Raises OutOfMemory, errors that lose the device, and what `check` raises; a fault of the model becomes a refused proof.
    """
    proofs: list[Proof] = []
    for name in PROOFS:
        progress(len(proofs), len(PROOFS))
        check()
        proofs.append(run(name, partial(_proof, name, lm, check)))
    progress(len(proofs), len(PROOFS))
    try:
        reading = reading_hash(lm)
    except CONTRADICTIONS:
        reading = ""
    return Passport(VERSION, tuple(proofs), reading)


def _proof(name: str, lm: LanguageModel, check: Check) -> Proof:
    try:
        return PROOFS[name](lm, check)
    except OutOfMemory:
        raise
    except ModelFault as fault:
        return Proof(name, "refused", 0, "", fault.sentence)
    except CONTRADICTIONS as error:
        return Proof(name, "refused", 0, "", f"The model cannot be run: {error}. Correct its config.")
