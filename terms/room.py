"""What generating needs beside the weights, as a sum of a few numbers that are found once for each model.

One prediction serves the refusal of a request that fits no device, the refusal of a row that fits not this device, and the plan of a batch.
How the numbers are found: `workers.lm.room`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

from terms.values import JsonObject

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number, by dtype."""


Rooms = Mapping[str, JsonObject]
"""By dtype, what `Room.to_dict` gave; of a newer version it may hold more."""


@dataclass(frozen=True)
class Room:
    """Bytes. R rows, N of them in one pass over prompts, T tokens of a prompt that are computed ahead, C tokens of a whole row:

        R (row + C column) + the larger of   N (pass_row + T token + T^2 pair) + T^2 mask   (a pass over prompts)
                                       and   R (step + C step_column)            (a step of one token each)

    `row` and `column` are what is kept: states, and keys and values. The rest is there during a pass: activations, masks, logits. On the
    engine `library` no more rows run than fit one pass; on `whole` nothing is kept, and each step is a pass over the whole rows.
    """

    engine: Literal["slots", "library", "whole"]
    row: int = 0
    column: int = 0
    pass_row: int = 0
    token: int = 0
    pair: int = 0
    mask: int = 0
    step: int = 0
    step_column: int = 0

    def needed(self, rows: int, prompt_tokens: int, new_tokens: int, pass_tokens: int) -> int:
        """The peak of `rows` rows generated together, where a pass over prompts has at most `pass_tokens` tokens of more than one row."""
        columns, ahead = max(1, prompt_tokens - 1 + new_tokens), max(1, prompt_tokens - 1)
        together = max(1, min(rows, pass_tokens // ahead))
        if self.engine == "whole":
            ahead = columns
        if self.engine != "slots":
            rows = together
        kept = rows * (self.row + columns * self.column)
        prompts = together * (self.pass_row + ahead * (self.token + ahead * self.pair)) + ahead * ahead * self.mask
        return kept + max(prompts, rows * (self.step + columns * self.step_column))

    def to_dict(self) -> dict[str, int | str]:
        """Plain JSON values."""
        return asdict(self)


def room_in(rooms: Rooms | None, dtype: str) -> Room | None:
    """The numbers for weights of `dtype` among those of a model's facts, which may hold more than this version knows; None: not known."""
    stored = (rooms or {}).get(dtype)
    return None if stored is None else Room(**{item.name: stored[item.name] for item in fields(Room) if item.name in stored})
