"""The result of one check of `binnacle doctor`."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one check found about a part of the machine or service, named by `about`.

    `level`: `ok`; `note`: works, but worth knowing; `fault`: something does not work, and `detail` says what to do.
    """

    about: str
    level: Level
    detail: str
