"""Each broken folder (twin) is refused by the one proof made for it and passes without that proof; good folders are refused by none."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proofs.twins import fault_of
from tests.real.conftest import available
from tests.real.folders import SIBLINGS, TWINS, Twin, changed, tiny_folder
from tests.real.models import SMOLLM2
from workers.lm.architecture import Terms
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.proofs import passport
from workers.lm.proofs.addends import addends, replay_errors
from workers.lm.proofs.passport import PROOFS, Passport, prove
from workers.lm.proofs.rows import random_rows
from workers.lm.proofs.turn_end import answer_end
from workers.lm.tokenizing import PROBES, library_tokenizer, open_tokenizer, text_ids

pytestmark = pytest.mark.timeout(1200)
ALONE = """
import json, sys
from tokenizers import Tokenizer
assert not {"torch", "transformers"} & set(sys.modules)
backend = Tokenizer.from_file(sys.argv[1])
backend.no_truncation(); backend.no_padding()
print(json.dumps([backend.encode(text, add_special_tokens=False).ids for text in json.loads(sys.argv[2])]))
"""


def refused(found: Passport) -> set[str]:
    return {proof.name for proof in found.proofs if proof.outcome == "refused"}


def limited(found: Passport) -> set[str]:
    return {proof.name for proof in found.proofs if proof.outcome == "limited"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    available(SMOLLM2)
    return tiny_folder(tmp_path_factory.mktemp("good") / "model")


def load_unchecked(folder: Path, twin: Twin) -> LanguageModel:
    """The model of a folder that inspection would refuse, loaded without the checks that refuse it."""
    with pytest.MonkeyPatch.context() as patch:
        for target, replacement in dict(twin.unchecked).items():
            module, _, name = target.rpartition(".")
            patch.setattr(importlib.import_module(module), name, replacement)
        return load(folder)


@pytest.mark.parametrize("name", [name for name, twin in TWINS.items() if not twin.real])
def test_a_twin_is_refused_by_its_own_proof_alone(name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = TWINS[name]
    folder = changed(good, tmp_path / "model", twin.change)
    if twin.by == "inspect":
        assert re.search(twin.says, fault_of(folder).sentence, re.DOTALL)
    lm = load_unchecked(folder, twin)
    found = prove(lm)
    assert refused(found) == {twin.proof}
    assert re.search(twin.says, next(proof.sentence for proof in found.proofs if proof.name == twin.proof), re.DOTALL)
    monkeypatch.setattr(passport, "PROOFS", {other: run for other, run in PROOFS.items() if other != twin.proof})
    assert prove(lm).outcome != "refused", "without its proof it passes"


@pytest.mark.parametrize("name", [name for name, twin in TWINS.items() if twin.real])
def test_a_twin_of_the_real_model_is_refused(
    name: str, smollm2: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = TWINS[name]
    folder = changed(SMOLLM2.folder, tmp_path / "model", twin.change)
    if twin.by == "inspect":
        assert re.search(twin.says, fault_of(folder).sentence, re.DOTALL)
        return
    of_texts = ("tokenizer", "prompt", "turn end")
    monkeypatch.setattr(passport, "PROOFS", {proof: PROOFS[proof] for proof in of_texts})
    assert refused(prove(replace(smollm2, folder=folder, tokenizer=open_tokenizer(folder)))) == {twin.proof}


@pytest.mark.parametrize("kind", SIBLINGS)
def test_a_good_folder_is_refused_by_no_proof(kind: str, good: Path, tmp_path: Path) -> None:
    change, only_limited = SIBLINGS[kind]
    folder = changed(good, tmp_path / "model", change)
    lm = load(folder)
    found = prove(lm)
    assert (refused(found), limited(found)) == (set(), only_limited)
    command = [sys.executable, "-c", ALONE, str(folder / "tokenizer.json"), json.dumps(PROBES)]
    alone = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert [text_ids(lm.tokenizer, text) for text in PROBES] == alone


def test_a_sibling_as_the_library_reads_it_is_a_twin(good: Path, tmp_path: Path) -> None:
    """The class loses the splitting of digits: without the correction in workers/lm/tokenizing.py one proof alone refuses it."""
    folder = changed(good, tmp_path / "model", SIBLINGS["a tokenizer class that the library rebuilds"][0])
    lm = replace(load(folder), tokenizer=library_tokenizer(folder))
    found = prove(lm)
    assert refused(found) == {"tokenizer"}
    assert "1. Apples" in next(proof.sentence for proof in found.proofs if proof.name == "tokenizer")


def test_an_answer_that_does_not_end_with_its_turn_is_said(smollm2: LanguageModel) -> None:
    """SmolLM2 with the end of a text alone wrote the user's next turn; the proof names the token to add."""
    endless = replace(smollm2, eos_ids=frozenset({0}))
    proof = answer_end(endless)
    assert (proof.outcome, answer_end(smollm2).outcome) == ("limited", "passed")
    assert "add 2 to eos_token_id" in proof.sentence


def test_one_order_of_the_terms_alone_gives_the_same_bits_on_real_weights(smollm2: LanguageModel) -> None:
    [row] = random_rows(smollm2, [40], seed=2)
    [found] = replay_errors(smollm2, row).values()
    assert [order for order, error in found.items() if error == 0] == ["(input + self_attn) + mlp"]
    assert len(found) == 3


def with_terms(lm: LanguageModel, change: Callable[[int], Terms]) -> LanguageModel:
    """The model with other terms of each layer."""
    return replace(lm, layout=replace(lm.layout, terms=tuple(change(layer) for layer in range(lm.layout.n_layers))))


def test_terms_of_another_layer_are_refused_on_real_weights(smollm2: LanguageModel) -> None:
    terms = smollm2.layout.terms
    assert addends(with_terms(smollm2, lambda layer: terms[max(layer - 1, 0)])).outcome == "refused"


@pytest.mark.parametrize("scaled", range(3), ids=["input", "attention", "mlp"])
def test_a_term_one_percent_too_large_is_refused_on_real_weights(scaled: int, smollm2: LanguageModel) -> None:
    def change(layer: int) -> Terms:
        terms = smollm2.layout.terms[layer]
        kept, *scales = (1.01 * scale if n == scaled else scale for n, scale in enumerate((terms.kept, *terms.scales)))
        return replace(terms, kept=kept, scales=tuple(scales))

    assert addends(with_terms(smollm2, change)).outcome == "refused"
