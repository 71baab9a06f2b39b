"""Checks whether a model fits the workers' devices: its weights (parameters times bytes per parameter) plus one row of a batch."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from app.devices.models import Worker
from app.errors import Problem, invalid
from binnacle.words.counting import counted
from binnacle.words.sizes import bytes_in_words
from terms.documents.model import ModelFactsDocument
from terms.room import WIDTHS, room_in

SHORTEST = 1
"""Tokens of the shortest prompt; real prompt lengths are known only after the model's tokenizer has read the prompts."""


class FitOut(BaseModel):
    """The weights on one worker's device, and what the shortest row of a request takes beside them. A batch is planned by each job."""

    worker: str
    device: str
    dtype: str
    weights_bytes: int
    row_bytes: int | None = Field(
        None,
        description="caches, activations and logits of one row of a request; null without a request, and where it is not known",
    )
    limit_bytes: int = Field(description="the worker's memory budget for models, or its device's memory if that is less")
    fits: bool
    arithmetic: str


def sizes(parameters: int) -> dict[str, int]:
    """Returns the bytes of the weights for each dtype."""
    return {dtype: parameters * width for dtype, width in WIDTHS.items()}


def fits(facts: ModelFactsDocument, workers: Sequence[Worker], new_tokens: int | None = None) -> list[FitOut]:
    """Returns an entry for each model worker that reported its memory, including one row with the shortest prompt and `new_tokens`, if given."""
    return [_fit(facts, worker, memory, new_tokens) for worker in workers if (memory := _memory(worker)) is not None]


def _memory(worker: Worker) -> tuple[int, str, int | None] | None:
    """Returns the budget, the dtype and the device's memory as the worker reported them; None if it did not."""
    budget, dtype, total = (worker.memory.get(name) for name in ("budget", "dtype", "device_total"))
    if not isinstance(budget, int) or not isinstance(dtype, str):
        return None
    return budget, dtype, total if isinstance(total, int) else None


def _fit(facts: ModelFactsDocument, worker: Worker, memory: tuple[int, str, int | None], new_tokens: int | None) -> FitOut:
    parameters, (budget, dtype, total) = facts["n_parameters"], memory
    need = sizes(parameters)[dtype]
    limit = budget if total is None else min(budget, total)
    limit_of = "its budget for models" if limit == budget else "its device's memory"
    arithmetic = f"{parameters:,} parameters x {WIDTHS[dtype]} bytes ({dtype}) = {bytes_in_words(need)}; {limit_of} is {bytes_in_words(limit)}"
    row = None if new_tokens is None else _row_bytes(facts, dtype, new_tokens)
    within = need <= limit
    if row is not None and total is not None:
        within = within and need + row <= total
        beside = (
            f"one row of a prompt of {counted(SHORTEST, 'token')} and {new_tokens:,} new takes {bytes_in_words(row)} beside them"
        )
        arithmetic += f"; {beside}, together {bytes_in_words(need + row)} of its device's {bytes_in_words(total)}"
    return FitOut(
        worker=worker.id, device=worker.device, dtype=dtype, weights_bytes=need, row_bytes=row, limit_bytes=limit, fits=within,
        arithmetic=arithmetic,
    )  # fmt: skip


def _row_bytes(facts: ModelFactsDocument, dtype: str, new_tokens: int) -> int | None:
    """Returns the bytes of a row; None for facts of older inspections, and for models with unknown memory use."""
    room = room_in(facts.get("room"), dtype)
    return None if room is None else room.needed(1, SHORTEST, new_tokens, 1)


def check_fits(model: str, facts: ModelFactsDocument, workers: Sequence[Worker], new_tokens: int) -> None:
    """Raises Problem 422 `does_not_fit` if no worker can hold the model and one row.

    Passes while the model's facts are unknown, there is no worker, or a worker has not reported its memory.
    """
    if facts.get("n_parameters") is None or not workers or None in map(_memory, workers):
        return
    all_fits = fits(facts, workers, new_tokens)
    if any(fit.fits for fit in all_fits):
        return
    by_worker = "; ".join(f"{fit.worker}: {fit.arithmetic}" for fit in all_fits)
    if any(fit.fits for fit in fits(facts, workers)):
        remedy = "Request fewer new tokens, or use a smaller model."
        raise _refused(
            "/max_new_tokens", f"No worker can hold {model} and one row of {new_tokens:,} new tokens. {by_worker}. {remedy}"
        )
    raise _refused(
        "/model", f"No worker can hold {model}. {by_worker}. Use a smaller model, or ask an administrator for a larger device."
    )


def _refused(pointer: str, detail: str) -> Problem:
    return invalid(pointer, "does_not_fit", detail)
