"""What a part finds, as one JSON object a line, written at once: a part that is killed leaves what it had found."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Setup:
    """Where and how large a part runs. `tiny` sizes end on a CPU within seconds."""

    device: str
    tiny: bool

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    def size(self, full: Any, tiny: Any) -> Any:
        """`full`, or `tiny` where this run is a tiny one."""
        return tiny if self.tiny else full


class Record:
    """Appends to the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def figure(self, name: str, value: Any, unit: str = "", note: str = "") -> None:
        """A number that was measured; it fails nothing."""
        self._add(kind="figure", name=name, value=value, unit=unit, note=note)

    def check(self, name: str, value: float, *, why: str, most: float | None = None, least: float | None = None) -> None:
        """A number that must be within its bounds; NaN is not. `why` says where the bounds come from."""
        ok = (most is None or value <= most) and (least is None or value >= least)
        self._add(kind="check", name=name, value=value, most=most, least=least, ok=bool(ok), why=why)

    def absent(self, name: str, why: str = "not on this device") -> None:
        """A number that this device does not have."""
        self._add(kind="absent", name=name, why=why)

    def listed(self, name: str, state: str, *, ok: bool = True) -> None:
        """A test of the service and what became of it."""
        self._add(kind="listed", name=name, state=state, ok=ok)

    def error(self, where: str, error: BaseException) -> None:
        """An exception, with its traceback."""
        self._add(kind="error", name=where, ok=False, traceback="".join(traceback.format_exception(error)))

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """An exception in the block fails the part and ends the block alone: what follows is still tried."""
        try:
            yield
        except Exception as error:
            self.error(name, error)

    def _add(self, **entry: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, default=_plain) + "\n")


def read_entries(path: Path) -> list[dict[str, Any]]:
    """What was recorded in `path`; a last line that was cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _plain(value: Any) -> Any:
    """Tensors and numpy's numbers as Python's."""
    if isinstance(value, torch.Tensor) or hasattr(value, "item"):
        return value.item()
    return str(value)
