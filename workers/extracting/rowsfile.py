"""Writes and reads rows.safetensors, the file of captured activation rows. Its tensors, by name:

    position/component/layer/class   float32 [N, D]: N rows of width D
    position/class/index             int64 [N]: the index of each row's example

A class is `positive` or `negative`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from safetensors.numpy import load

from app.formats.tensorfile import to_bytes
from workers.extracting.examples import Prompted
from workers.lm.gather import Rows

CLASSES = ("positive", "negative")


def write_rows(rows: Rows, examples: Sequence[Prompted]) -> bytes:
    """Returns the file's bytes; equal rows give equal bytes. `rows.kept` holds indices into `examples`, which have a label for the class."""
    tensors: dict[str, np.ndarray] = {}
    for position, kept in rows.kept.items():
        for label in CLASSES:
            tensors[f"{position}/{label}/index"] = np.array([i for i in kept if examples[i].label == label], dtype=np.int64)
    for (position, component, layer), values in rows.values.items():
        for label in CLASSES:
            chosen = [n for n, i in enumerate(rows.kept[position]) if examples[i].label == label]
            tensors[f"{position}/{component}/{layer}/{label}"] = np.ascontiguousarray(values.numpy()[chosen])
    return to_bytes(tensors, {})


def read_rows(data: bytes, examples: Sequence[Prompted]) -> Rows:
    """Returns the rows in the bytes of a file, at each position the positives first, then the negatives.

    This is the order in which they were captured, because `examples` begin with the positives. `examples` serve to check the indices.
    """
    tensors = load(data)
    kept = {
        name.removesuffix("/positive/index"): [
            *tensors[name].tolist(),
            *tensors[name.replace("/positive/", "/negative/")].tolist(),
        ]
        for name in tensors
        if name.endswith("/positive/index")
    }
    values = {}
    for name, positive in tensors.items():
        parts = name.split("/")
        if len(parts) == 4 and parts[3] == "positive":
            negative = tensors[name.removesuffix("positive") + "negative"]
            values[parts[0], parts[1], int(parts[2])] = torch.from_numpy(np.concatenate([positive, negative]))
    assert all(0 <= i < len(examples) for indices in kept.values() for i in indices)
    return Rows(values, kept)
