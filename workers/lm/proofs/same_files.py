"""The proof of same files: the library loads exactly the files that were hashed and scanned.

Refused: two sets of weights in one folder, a config that names other weights, an adapter next to the base model, files that changed.
"""

from pathlib import Path

from binnacle.words.sizes import bytes_in_words
from workers.lm.errors import ModelFault
from workers.lm.facts import ModelFacts
from workers.lm.folder import check_folder, files_changed, weight_files
from workers.lm.proofs.outcome import Proof

NAME = "same files"


def same_files(folder: Path, facts: ModelFacts) -> Proof:
    """Runs the proof that `facts` describe what is loaded from `folder`. Its figure is the size of the weights in bytes."""
    try:
        check_folder(folder)
        weights = weight_files(folder)
    except ModelFault as fault:
        return Proof(NAME, "refused", 0, "bytes", fault.sentence)
    size = sum(file.stat().st_size for file in weights)
    if files_changed(folder, facts.files):
        return Proof(
            NAME, "refused", size, "bytes", f"The files in {folder} changed since they were inspected. Inspect the model again."
        )
    count = f"{len(weights)} weight files" if len(weights) > 1 else weights[0].name
    return Proof(
        NAME,
        "passed",
        size,
        "bytes",
        f"{count} ({bytes_in_words(size)}): one set of weights, hashed, scanned and loaded unchanged.",
    )
