"""Every decoder family of the library is read and run by proof, or refused with a reason that `docs/families.md` states.

The twelve that labs use and a tenth of the others, drawn anew for each version of the library, run in `make test`; all of them in the long run.
Families that are not in the table yet are examined by `python -m tests.families`.
"""

import random
import re
import warnings
from pathlib import Path

import pytest
import transformers
from transformers import AutoConfig
from transformers.models.ministral3 import modeling_ministral3

import workers.lm
from tests.families.checks import examine
from tests.families.models import CLASSES, ENTRIES, LABS, LAYERS, tiny_family
from tests.families.table import DOCUMENT, document, read_table
from tests.families.thresholds import lengths_of
from workers.lm import shrinking
from workers.lm.checkpoint import quiet
from workers.lm.proofs.addends import ULPS
from workers.lm.shrinking import shrunk
from workers.lm.structure import finding
from workers.lm.structure.twin import layer_types, layers_needed

STATED = read_table()
OTHERS = sorted(set(STATED) & set(CLASSES) - set(LABS))  # what `families` gives, without loading every family
TENTH = random.Random(transformers.__version__).sample(OTHERS, len(OTHERS) // 10)


def _check(name: str) -> None:
    found = examine(name)
    assert found.verdict == STATED[name].verdict, found.reason
    if found.verdict == "proven":
        assert (found.structure, found.engine) == (STATED[name].structure, STATED[name].engine)
        assert found.addends_float32 is not None
        assert found.addends_float32 <= ULPS


@pytest.mark.parametrize("name", LABS)
def test_the_families_that_labs_use_are_proven(name: str) -> None:
    assert STATED[name].verdict == "proven"
    _check(name)


@pytest.mark.parametrize("name", TENTH)
def test_a_tenth_of_the_families_is_what_the_table_says(name: str) -> None:
    _check(name)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(OTHERS) - set(TENTH)))
def test_every_family_is_what_the_table_says(name: str) -> None:
    _check(name)


def test_a_pass_grows_where_blocks_take_nothing_else_for_each_row() -> None:
    """Gemma 4 adds embeddings of the tokens at each layer, and Bloom's attention takes a bias for each row and head. Attention sinks make masks
    for each row in a plain pass, but not in a pass over prompts."""
    grows = {name: tiny_family(name).layout.structure.grows for name in ("llama", "gpt_oss", "gemma4_text", "bloom")}
    assert grows == {"llama": True, "gpt_oss": True, "gemma4_text": False, "bloom": False}


def test_attention_that_takes_its_positions_from_the_cache_is_not_run_on_slots() -> None:
    """Llama 4 scales queries by their number of tokens before them in the cache, from token 8,192 on; a slot's length is not the cache's."""
    assert tiny_family("llama4_text").layout.structure.engine == "library"


def test_a_factor_that_grows_with_the_position_is_seen_in_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ministral 3 scales queries as Llama 4 does, from token 16,384 on, by the positions that it is given. If it counted from the first token
    of a pass, its steps would be scaled wrongly."""
    scale = modeling_ministral3.get_llama_4_attn_scale
    assert tiny_family("ministral3").layout.structure.engine == "slots"
    monkeypatch.setattr(
        modeling_ministral3, "get_llama_4_attn_scale", lambda at_NT, beta, length: scale(at_NT - at_NT[:, :1], beta, length)
    )
    monkeypatch.setattr(finding, "_structures", {})
    assert tiny_family("ministral3").layout.structure.engine == "whole"


def _check_lengths(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    full = AutoConfig.for_model(name, **ENTRIES.get(name, {})).get_text_config()
    layers = max(LAYERS, layers_needed(layer_types(full)))
    small = shrunk(full, layers)
    monkeypatch.setattr(shrinking, "WINDOWS", re.compile("(?!)"))
    plain = shrunk(full, layers)
    plain._experts_implementation = "eager"
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        lengths = lengths_of(plain)
    assert {entry: number for entry in lengths if (number := getattr(small, entry)) > shrinking.WINDOW} == {}
    return lengths


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("gpt_oss", {"sliding_window"}),
        ("llama4_text", {"attention_chunk_size", "floor_scale"}),
        ("inkling_text", {"sliding_window_size", "rel_extent", "log_scaling_n_floor"}),
        ("minimax_m3_vl_text", {"index_block_size"}),
    ],
)
def test_lengths_from_which_a_model_computes_something_else_are_short_in_its_twin(
    name: str, entries: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens only beyond a length that no row of a proof reaches would go unseen."""
    assert entries <= set(_check_lengths(name, monkeypatch))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, stated in STATED.items() if stated.verdict == "proven"])
def test_lengths_of_every_family_are_short_in_its_twin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_lengths(name, monkeypatch)


def test_the_document_states_what_was_found() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_no_code_of_the_model_side_names_a_family() -> None:
    """What a proof decides is never decided by a name."""
    folder = Path(workers.lm.__file__).parent
    layer_names = re.compile(
        r"\b(?:[A-Z]\w*DecoderLayer|GPT2Block|GPTNeoXLayer|" + "|".join(map(re.escape, CLASSES.values())) + r")\b"
    )
    named = {f"{file.name}: {found[0]}" for file in folder.rglob("*.py") if (found := layer_names.search(file.read_text()))}
    assert not named
