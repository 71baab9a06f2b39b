"""The proof of the tokenizer: texts become the ids that tokenizer.json gives when the `tokenizers` package reads it alone.

Compared with truncation, padding and special tokens off, after adding the tokens that the config files declare; then the special tokens at the
ends of a text are compared. `tokenizing` has corrected the library's differences, and this proof reports them.
"""

from transformers import PreTrainedTokenizerBase

from workers.lm.errors import first_few
from workers.lm.model import LanguageModel
from workers.lm.proofs.outcome import Proof
from workers.lm.tokenizing import PROBES, differences, file_backend, library_tokenizer, probe_texts, text_ids, tokenizer_sources

NAME = "tokenizer"


def tokenizer_ids(lm: LanguageModel) -> Proof:
    """Runs the proof that the probe texts' ids are the file's and inside the vocabulary. Its figure is the number of texts compared."""
    reference = file_backend(lm.folder)
    texts = list(PROBES) if reference is None else probe_texts(reference)
    beyond = [text for text in texts if max(text_ids(lm.tokenizer, text), default=0) >= lm.vocab_size]
    if beyond:
        sentence = (
            f"{len(beyond)} of {len(texts)} texts ({_shown(beyond)}) give ids beyond the model's vocabulary of {lm.vocab_size:,}. "
            "The tokenizer does not belong to this model: take both from the same place."
        )
        return Proof(NAME, "refused", len(beyond), "texts", sentence)
    if reference is None:
        kind = type(lm.tokenizer).__name__
        sentence = (
            f"There is no tokenizer.json to compare with: the library makes {kind} of {', '.join(tokenizer_sources(lm.folder))}. "
            f"{len(texts)} texts give ids inside the vocabulary."
        )
        return Proof(NAME, "limited", 0, "texts", sentence)
    if differing := differences(lm.tokenizer, reference):
        shown = f"{len(differing)} of {len(texts)} texts ({_shown(differing)})"
        sentence = f"{shown} give ids that differ from those of tokenizer.json. Save the tokenizer again."
        return Proof(NAME, "refused", len(differing), "texts", sentence)
    library = library_tokenizer(lm.folder)
    if (ends := _ends(lm.tokenizer)) != (wanted := _ends(library)):
        return Proof(
            NAME, "refused", 1, "texts", f"By its files {_named(library, wanted)}; as it is loaded {_named(library, ends)}."
        )
    corrected = differences(library, reference)
    read = f"{len(texts)} texts give the ids of tokenizer.json; {_named(lm.tokenizer, ends)}."
    if corrected:
        read += (
            f" The library rebuilds this tokenizer as {type(library).__name__}, which gives {len(corrected)} of them ({_shown(corrected)}) "
            "different ids: those of the file are used."
        )
    return Proof(NAME, "passed", len(texts), "texts", read)


def _ends(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The ids that are added before and after a text without a template."""
    alone, whole = text_ids(tokenizer, "a"), [int(i) for i in tokenizer("a")["input_ids"]]
    at = next((i for i in range(len(whole) - len(alone) + 1) if whole[i : i + len(alone)] == alone), 0)
    return whole[:at], whole[at + len(alone) :]


def _named(tokenizer: PreTrainedTokenizerBase, ends: tuple[list[int], list[int]]) -> str:
    names = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
    parts = [
        f"{' '.join(names.get(i, str(i)) for i in ids)} {place}"
        for ids, place in zip(ends, ("before", "after"), strict=True)
        if ids
    ]
    return f"a text gets {' and '.join(parts)} it" if parts else "nothing is put before or after a text"


def _shown(texts: list[str]) -> str:
    return first_few((repr(text[:30]) for text in texts), limit=3)
