"""Describes where a model's dominant dim emerges (docs/science.md, 2.4), in the same words in reports and on the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"


def emergence_in_words(aggregate: Mapping[str, Any]) -> str:
    """Returns `layer 2; plateau 2-6; falls at 7`, from the aggregate of a calibration.json; files of an earlier schema lack it."""
    if not aggregate.get("emergence"):
        return NOT_MEASURED
    [emergence] = aggregate["emergence"].values()  # keyed by the dominant dim, the only entry
    falls = "does not fall" if emergence["falls"] is None else f"falls at {emergence['falls']}"
    return f"layer {emergence['first']}; plateau {ranges(emergence['plateau'])}; {falls}"


def ranges(layers: Sequence[int]) -> str:
    """Returns ascending layers as `2-5, 8`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
