"""GGUF control vectors, as llama.cpp and repeng read them.

Convention: `general.architecture` is `controlvector`, `direction.N` is added to the output of block N, float32 [D]. That is our
layer N, and nothing is shifted. llama.cpp refuses N = 0, so layer 0 is left out, which the notes state. A file holds one vector a layer.
Keys of ours that other readers pass over, and that are read here: `controlvector.site` (our component) and `controlvector.layer_offset`
(direction.N is the output of block N + offset, 0 in our files). `controlvector.operation` (`add`) is written for people.
It is written by the `gguf` package and read here, because a file may lie about every count that the package's reader loops over.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.formats.gguf_layout import LAYER_OFFSET, Layout, layout
from app.formats.vectors import NamedVector, Origin, Unreadable, Unwritable, sound
from terms.components import COMPONENTS, RESIDUAL_COMPONENTS

MEDIA_TYPE = "application/octet-stream"
ARCHITECTURE = "controlvector"


def write(vectors: Sequence[NamedVector], origin: Origin) -> tuple[bytes, str, list[str]]:
    """Returns bytes, media type and notes. Raises Unwritable for several vectors of a layer, and for those outside the residual stream."""
    notes = _check(vectors)
    directions = {named.layer: named.vector for named in sorted(vectors, key=lambda named: named.layer or 0) if named.layer}
    if not directions:
        raise Unwritable("A control vector cannot hold layer 0 (llama.cpp refuses direction.0), and no other layer was selected.")
    return _written(directions, vectors[0].component or "residual", origin), MEDIA_TYPE, notes


def _check(vectors: Sequence[NamedVector]) -> list[str]:
    kinds = sorted({named.key.rsplit("/", 1)[0] for named in vectors})
    if len(kinds) != 1:
        raise Unwritable(
            f"A control vector holds one vector for each layer; these are {len(kinds)} kinds: {', '.join(kinds[:6])}. "
            "Select one position, component and method, or export as safetensors."
        )
    layers = [named.layer for named in vectors]
    if len(set(layers)) != len(layers):
        raise Unwritable("A control vector holds one vector for each layer, and a layer was given twice.")
    if len({named.vector.size for named in vectors}) != 1:
        raise Unwritable("The vectors of a control vector must have one width.")
    component = vectors[0].component
    if component not in RESIDUAL_COMPONENTS:
        raise Unwritable(
            f"A control vector is added to the residual stream; {component} has other coordinates. Export as safetensors."
        )
    notes = [f"direction.N is the output of block N, our layer N; general.architecture is {ARCHITECTURE}."]
    if 0 in layers:
        notes.append("Layer 0 is left out: llama.cpp refuses direction.0.")
    if component != "residual":
        notes.append(
            f"These vectors belong to {component}; programs that read the file add them to the output of the whole block."
        )
    return notes


def _written(directions: dict[int, np.ndarray], site: str, origin: Origin) -> bytes:
    import gguf  # 0.3 s, and few processes ever write one

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", _hint(origin))
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(directions))
        writer.add_string(f"{ARCHITECTURE}.operation", "add")
        writer.add_int32(f"{ARCHITECTURE}.layer_offset", 0)
        writer.add_string(f"{ARCHITECTURE}.site", site)
        for name, value in origin.facts().items():
            writer.add_string(f"binnacle.{name}", value)
        for layer, vector in directions.items():
            writer.add_tensor(f"direction.{layer}", np.ascontiguousarray(vector, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _hint(origin: Origin) -> str:
    """Returns the model's family as repeng and llama.cpp write it: `gemma3` for Gemma3ForCausalLM. They warn about a model of another family."""
    return re.sub(r"(For[A-Z]|LMHead|Model).*", "", origin.architecture).lower() or origin.model


def read(data: bytes, most: int) -> list[NamedVector]:
    """Returns the directions in order of layers. Raises Unreadable for any other file, and for one of more than `most` tensors."""
    contents = layout(data, most)
    architecture = contents.texts.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise Unreadable(f"The GGUF file is of architecture {str(architecture)[:40]!r}; a control vector is {ARCHITECTURE!r}.")
    if not contents.tensors:
        raise Unreadable("The GGUF file holds no tensor.")
    vectors = [_vector(contents, name, data) for name in contents.tensors]
    return sorted(vectors, key=lambda named: named.layer or 0)


def _vector(contents: Layout, name: str, data: bytes) -> NamedVector:
    number = name.removeprefix("direction.")
    if number == name or not (number.isascii() and number.isdigit() and len(number) <= 4) or str(int(number)) != number:
        raise Unreadable(f"The GGUF file holds the tensor {name[:80]!r}; a control vector holds direction.N, N a layer.")
    where = contents.tensors[name]
    layer, site = (
        int(number) + contents.numbers.get(f"{ARCHITECTURE}{LAYER_OFFSET}", 0),
        contents.texts.get(f"{ARCHITECTURE}.site", "residual"),
    )
    if layer < 0:
        raise Unreadable(f"The GGUF file's layer_offset makes {name} a vector of layer {layer}; layers begin at 0.")
    if site not in COMPONENTS:
        raise Unreadable(f"The GGUF file's vectors are of the site {site[:40]!r}; this server knows {', '.join(COMPONENTS)}.")
    vector = sound(np.frombuffer(data, "<f4", where.count, where.begin), name)
    return NamedVector(vector, layer, site, name=name)
