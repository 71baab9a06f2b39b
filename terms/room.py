"""Predicts the memory that generation needs in addition to the weights, from a few numbers measured once for each model.

The same prediction is used to refuse a request that fits no device, to refuse a row that does not fit a device, and to plan a batch. How the
numbers are measured: `workers.lm.room`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one number, by dtype."""


Rooms = Mapping[str, Mapping[str, int | str]]
"""Results of `Room.to_dict` by dtype; a newer version may have further keys."""
Engine = Literal["slots", "library", "whole"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True)
class Room:
    """Coefficients in bytes for R rows, N of them in one pass over prompts, T tokens of a prompt processed before generation, C tokens of a
    whole row:

        R (row + C column) + the larger of   N (pass_row + T token + T^2 pair) + T^2 mask   (a pass over prompts)
                                       and   R (step + C step_column)            (a step of one token each)

    `row` and `column` are kept between passes: states and the key-value cache. The rest exists only during a pass: activations, masks,
    logits. On the engine `library`, only as many rows run as fit one pass; on `whole`, nothing is kept and each step is a pass over the whole
    rows.
    """

    engine: Engine
    row: int = 0
    column: int = 0
    pass_row: int = 0
    token: int = 0
    pair: int = 0
    mask: int = 0
    step: int = 0
    step_column: int = 0

    def needed(self, rows: int, prompt_tokens: int, new_tokens: int, pass_tokens: int) -> int:
        """Returns the peak bytes for `rows` rows generated together; a pass over prompts of several rows has at most `pass_tokens` tokens.

        Prompts may be shorter than `prompt_tokens`. More of them run in one pass, so this is the largest peak for any number in it."""
        ahead, most = max(1, prompt_tokens - 1), max(1, min(rows, pass_tokens))
        shorter = (max(0, ahead - pass_tokens // count) if count > 1 else 0 for count in range(1, most + 1))
        return max(self._peak(rows, count, prompt_tokens, new_tokens, fewer) for count, fewer in enumerate(shorter, 1))

    def _peak(self, rows: int, together: int, prompt_tokens: int, new_tokens: int, fewer: int) -> int:
        """The peak bytes where `together` rows are in one pass, of prompts with `fewer` tokens than the longest."""
        columns, ahead = max(1, prompt_tokens - 1 + new_tokens), max(1, prompt_tokens - 1) - fewer
        if self.engine != "slots":
            rows, columns = together, columns - fewer
        if self.engine == "whole":
            ahead = columns
        kept = rows * (self.row + columns * self.column)
        prompts = together * (self.pass_row + ahead * (self.token + ahead * self.pair)) + ahead * ahead * self.mask
        return kept + max(prompts, rows * (self.step + columns * self.step_column))

    def to_dict(self) -> dict[str, int | str]:
        """Returns the numbers as plain JSON values."""
        return asdict(self)


def room_in(rooms: Rooms | None, dtype: str) -> Room | None:
    """Returns the numbers for weights of `dtype` from a model's facts, or None if they or the engine are unknown; ignores keys of newer
    versions."""
    stored = (rooms or {}).get(dtype) or {}
    engine = stored.get("engine")
    if engine not in ENGINES:
        return None
    return Room(engine, **{item.name: number for item in fields(Room) if isinstance(number := stored.get(item.name), int)})
