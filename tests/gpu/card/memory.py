"""Memory really runs out: the batch is halved, the texts and rows are the same, and the memory comes back.

On a GPU a balloon takes all but a little; on a CPU a limit on the address space leaves as little, and its allocator fails as it does in
earnest.
"""

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from terms.positions import parse_position
from tests.gpu.card.record import Record, Setup
from tests.gpu.card.rows import prompts
from tests.ml.steered_rows import texts, typical_norm
from tests.ml.tiny_models import tiny_model_folder
from workers.lm.capture import assert_no_hooks
from workers.lm.errors import OutOfMemory
from workers.lm.gather import Example, gather_rows
from workers.lm.interventions import Push
from workers.lm.loading import load
from workers.lm.memory import free_memory
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredRow, generate_steered

MIB = 1 << 20
WIDE = {  # 8 KiB of keys and values a token, and 16 KiB for each intermediate activation of a token
    "hidden_size": 256,
    "intermediate_size": 4096,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 1 << 17,
    "initializer_range": 0.06,
}
COLUMNS = 512


def run(setup: Setup, record: Record) -> None:
    """Generation, capture, one row that does not fit, and what is left afterwards."""
    with TemporaryDirectory() as base:
        lm = load(tiny_model_folder(Path(base), "llama", **WIDE), device=setup.device)
    leave = setup.size(384, 48) * MIB
    with record.section("generation"):
        _generation(lm, setup, record, leave)
    with record.section("capture"):
        _capture(lm, setup, record, leave)
    with record.section("one row"):
        _one_row(lm, setup, record, leave)


@contextmanager
def only(setup: Setup, leave: int) -> Iterator[None]:
    """Memory of `leave` bytes."""
    free_memory()
    if setup.cuda:
        free, _ = torch.cuda.mem_get_info(setup.device)
        balloon = torch.empty(free - leave, dtype=torch.uint8, device=setup.device)
        try:
            yield
        finally:
            del balloon
            free_memory()
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + leave, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _generation(lm: LanguageModel, setup: Setup, record: Record, leave: int) -> None:
    """Rows with room for long answers, which end after few tokens: the keys and values fill the memory at once."""
    count = setup.size(256, 32)
    push = Push(1, "residual", torch.randn(WIDE["hidden_size"], generator=torch.Generator().manual_seed(0)), 0.02)
    push = replace(push, coefficient=0.5 * typical_norm(lm, 1, "residual") / float(push.vector.norm()))
    rows = [SteeredRow(prompt, (push,) if i % 2 else ()) for i, prompt in enumerate(prompts(lm, count))]
    endless = replace(lm, eos_ids=frozenset())
    few = texts(generate_steered(endless, rows, max_new_tokens=4, batch_rows=count))
    ending = replace(lm, eos_ids=frozenset(answer[-1] for answer in few))
    wanted = texts(generate_steered(ending, rows, max_new_tokens=COLUMNS, batch_rows=count))
    before = _allocated(setup)
    counts = GenerationCounts()
    with only(setup, leave):
        found = texts(generate_steered(ending, rows, max_new_tokens=COLUMNS, batch_rows=count, counts=counts))
    record.check("generation: halvings", counts.halvings, least=1, why="else the memory did not run out and nothing is proven")
    record.figure("generation: rows that fitted", counts.smallest_batch, "rows", f"of {count}, in {leave / MIB:.0f} MiB")
    differ = sum(one != other for one, other in zip(found, wanted, strict=True))
    record.check(
        f"generation: of {count} texts, those that halving changed",
        differ,
        most=0,
        why="a row's text does not depend on its batch",
    )
    assert_no_hooks(lm.model)
    _memory_is_back(setup, record, "generation", before)


def _capture(lm: LanguageModel, setup: Setup, record: Record, leave: int) -> None:
    count, tokens = setup.size((512, 128), (24, 128))  # the tiny one's activations are 50 MB each, in 48 MiB
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(10, lm.vocab_size, (count, tokens), generator=draw).tolist()
    examples = [Example(row[:-8], row[-8:]) for row in ids]
    position = parse_position("response[:5]")

    def gather(pass_tokens: int) -> torch.Tensor:
        rows = gather_rows(lm, examples, positions=[position], components=["residual"], layers=[0, 1], pass_tokens=pass_tokens)
        return rows.values[str(position), "residual", 1]

    wanted = gather(tokens)
    before = _allocated(setup)
    failed = 0
    with only(setup, leave):
        try:
            gather(count * tokens)
        except OutOfMemory:
            failed = 1
        found = gather(tokens)
    record.check(
        "capture: one pass of all rows does not fit", failed, least=1, why="else the memory did not run out and nothing is proven"
    )
    differ = int((found != wanted).any(dim=1).sum())
    record.check("capture: rows that short memory changed", differ, most=0, why="a pass has one shape, whatever memory is free")
    _memory_is_back(setup, record, "capture", before)


def _one_row(lm: LanguageModel, setup: Setup, record: Record, leave: int) -> None:
    """A row that does not fit alone is told so, and the next one runs."""
    row = SteeredRow(prompts(lm, 1)[0])
    said = ""
    with only(setup, leave):
        try:
            generate_steered(lm, [row], max_new_tokens=100_000, batch_rows=1)
        except OutOfMemory as error:
            said = error.sentence
        fits = generate_steered(lm, [row], max_new_tokens=4, batch_rows=1)
    record.figure("one row that does not fit", said or "nothing was raised")
    record.check("one row that does not fit is refused with a sentence", len(said), least=1, why="workers/lm/memory.py")
    alone = generate_steered(lm, [row], max_new_tokens=4, batch_rows=1)
    record.check(
        "a row after it differs from the row alone", int(texts(fits) != texts(alone)), most=0, why="the device still works"
    )


def _allocated(setup: Setup) -> int:
    gc.collect()
    return torch.cuda.memory_allocated(setup.device) if setup.cuda else 0


def _memory_is_back(setup: Setup, record: Record, what: str, before: int) -> None:
    if setup.cuda:
        left = (_allocated(setup) - before) / MIB
        record.check(f"{what}: memory kept afterwards, MiB", left, most=1, why="nothing of a job may stay on the device")
    else:
        record.absent(f"{what}: memory kept afterwards")
