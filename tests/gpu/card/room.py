"""How much fits at the 4B shape: the largest batch and the longest context, beside the predicted values."""

import random
from collections.abc import Callable

import torch

from tests.gpu.card.models import random_lm
from tests.gpu.card.record import Record, Setup
from workers.lm.errors import OutOfMemory
from workers.lm.memory import MAX_ROWS, batch_rows_for, bytes_needed, free_memory
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredRow, generate_steered

MIB = 1 << 20
NEW = 4
POINTS = ((20, 128, 256), (512, 8, 64), (2048, 8, 32))
"""Prompt tokens, new tokens, rows."""


def run(setup: Setup, record: Record) -> None:
    """Peaks first, then the two searches."""
    lm = random_lm("4B", setup)
    for prompt, new, rows in setup.size(POINTS, ((20, 8, 4), (64, 4, 2))):
        with record.section(f"{rows} rows of {prompt} + {new}"):
            _peak(lm, setup, record, prompt, new, rows)
    free_memory()  # what earlier passes left with the allocator is free
    budget = torch.cuda.mem_get_info(setup.device)[0] if setup.cuda else 1 << 30
    record.figure(
        "free beside the weights", budget / MIB, "MiB", "" if setup.cuda else "assumed: this device has no memory of its own"
    )
    with record.section("largest batch"):
        prompt, most = setup.size((1020, 4096), (60, 8))
        foretold, _ = largest(lambda rows: needed(lm, rows, prompt) <= budget, 1, most, parts=most)
        planned = batch_rows_for(lm, prompt, NEW, budget)
        found, capped = largest(lambda rows: fits(lm, rows, prompt), planned if setup.cuda else 2, most)
        record.figure(f"largest batch of {prompt} + {NEW} tokens", found, "rows", _end(capped, "to an eighth"))
        record.figure("largest batch foretold", foretold, "rows", f"batch_rows_for: {planned}, at most {MAX_ROWS}")
        record.figure("largest batch over what was foretold", found / foretold, "x")
    with record.section("longest context"):
        most = lm.context_length - NEW if setup.cuda else 200
        foretold, _ = largest(lambda tokens: needed(lm, 1, tokens) <= budget, 64, most, parts=64)
        found, capped = largest(lambda tokens: fits(lm, 1, tokens), foretold * 3 // 4 if setup.cuda else 50, most)
        record.figure("longest context of one row", found + NEW, "tokens", _end(capped, "to an eighth"))
        record.figure("longest context foretold", foretold + NEW, "tokens")
        record.figure("longest context over what was foretold", (found + NEW) / (foretold + NEW), "x")


def largest(fits_: Callable[[int], bool], start: int, most: int, *, parts: int = 8) -> tuple[int, bool]:
    """The largest size that fits, to a part of itself in `parts`, and whether the search ended at `most`. Sizes are doubled from `start`, or
    halved where it does not fit; then the gap is halved."""
    good, bad = 0, most + 1
    size = min(start, most)
    while size > good:
        if fits_(size):
            good = size
        else:
            bad = size
        if bad > most:
            size = min(2 * good, most)
        elif (bad - good) * parts <= good:
            break
        else:
            size = (good + bad) // 2
    return good, good == most


def fits(lm: LanguageModel, rows: int, prompt: int) -> bool:
    """Whether `rows` different rows of `prompt` tokens, and a few new ones, run in one batch without halving."""
    draw = random.Random(rows)
    asked = [SteeredRow([draw.randrange(10, lm.vocab_size) for _ in range(prompt)]) for _ in range(rows)]
    try:
        generate_steered(lm, asked, max_new_tokens=NEW, batch_rows=rows, counts=_Unhalved())
    except (_HalvedError, OutOfMemory):
        return False
    finally:
        free_memory()
    return True


def needed(lm: LanguageModel, rows: int, prompt: int) -> int:
    """Bytes foretold for that batch."""
    return bytes_needed(lm, rows, prompt, NEW) or 0


class _HalvedError(Exception):
    """The batch did not fit."""


class _Unhalved(GenerationCounts):
    """Ends generation at the first halving: that is all there is to know, and the smaller batch would take as long again."""

    def __setattr__(self, name: str, value: int) -> None:
        if name == "halvings" and value:
            raise _HalvedError
        super().__setattr__(name, value)


def _peak(lm: LanguageModel, setup: Setup, record: Record, prompt: int, new: int, rows: int) -> None:
    if not setup.cuda:
        fits(lm, rows, prompt)
        record.absent(f"peak a row, {rows} rows of {prompt} + {new}")
        return
    draw = random.Random(0)
    asked = [SteeredRow([draw.randrange(10, lm.vocab_size) for _ in range(prompt)]) for _ in range(rows)]
    free_memory()
    torch.cuda.reset_peak_memory_stats(setup.device)
    before = torch.cuda.memory_allocated(setup.device)
    generate_steered(lm, asked, max_new_tokens=new, batch_rows=rows)
    peak = (torch.cuda.max_memory_allocated(setup.device) - before) / rows
    foretold = (bytes_needed(lm, rows, prompt, new) or 0) / rows
    note = f"foretold: {foretold / MIB:.1f} MiB, {foretold / peak:.2f} x"
    record.figure(f"peak a row, {rows} rows of {prompt} + {new}", peak / MIB, "MiB", note)


def _end(capped: bool, otherwise: str) -> str:
    return "the search's end, not the device's" if capped else otherwise
