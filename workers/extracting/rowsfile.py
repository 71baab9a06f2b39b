"""rows.safetensors: stores captured rows as `position/component/layer/class` -> float32 [N, D], with the numbers of their examples."""

from collections.abc import Sequence

import numpy as np
import torch
from safetensors.numpy import load

from app.formats.tensorfile import to_bytes
from workers.extracting.examples import Prompted
from workers.lm.gather import Rows

CLASSES = ("positive", "negative")


def write_rows(rows: Rows, examples: Sequence[Prompted]) -> bytes:
    """The file's bytes; equal rows give equal bytes."""
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
    """The rows that `write_rows` wrote; positives come first in both."""
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
