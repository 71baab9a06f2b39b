"""`export`: writes an extraction, a part of it, or calibrations as the files of another program. Loads no model; torch writes the .pt files.

Nothing is computed: the vectors are written as stored. How each format counts layers and positions is in its own file of `app.formats`.
"""

import io
import json
from collections.abc import Callable, Sequence

import torch

from app.formats import archives, gguf_vectors, tensorfile, trait_interp
from app.formats.registry import write_vectors
from app.formats.vectors import NamedVector, Origin
from binnacle.words.layout import calibration_path
from terms.components import RESIDUAL_COMPONENTS
from terms.documents.reading import read_calibration, read_extraction, read_responses
from terms.specs import CalibrationsExportSpec, ExportSpec
from workers.job import ArtifactBytes, JobContext, JobFault, Outcome

MOST_VECTORS = 1_000_000
"""A limit of the reader; no extraction comes near it."""
Written = tuple[ArtifactBytes, list[str], int]
"""The file, notes for its reader, and the number of vectors in it."""


def run(spec: ExportSpec | CalibrationsExportSpec, context: JobContext) -> Outcome:
    """Spec: `extraction` (the job), `format`, and `positions`, `components`, `methods`, `layers`, each None for all; or `calibrations`.

    Result: `{"export": {file, format, vectors or calibrations, notes}}` and the one artifact.

    Raises JobFault missing_input, no_folder, same_folder.
    """
    return _calibrations(spec, context) if "calibrations" in spec else _vectors(spec, context)


def _vectors(spec: ExportSpec, context: JobContext) -> Outcome:
    """Exports an extraction, or the requested part of it."""
    context.phase("reading", 1, "extractions", share=0.2)
    stored = tensorfile.read(context.artifact(spec["extraction"], "vectors.safetensors"), MOST_VECTORS)
    vectors = [vector for vector in stored if _wanted(vector, spec)]
    trait = spec["trait"]
    origin = Origin(spec["model"], spec["architecture"], spec["weight_hash"], trait["name"], trait["version"])
    context.progress(1)
    file, notes, count = WRITERS[spec["format"]](vectors, origin, spec, context)
    summary = {"file": file.name, "format": spec["format"], "vectors": count, "notes": notes}
    return Outcome(result={"export": summary}, artifacts=[file])


def _wanted(vector: NamedVector, spec: ExportSpec) -> bool:
    asked = (
        (spec["positions"], vector.position),
        (spec["components"], vector.component),
        (spec["methods"], vector.method),
        (spec["layers"], vector.layer),
    )
    return all(values is None or value in values for values, value in asked)


def _calibrations(spec: CalibrationsExportSpec, context: JobContext) -> Outcome:
    """Exports trait-interp's folders of calibrations, each under the experiment and the variant that its file names."""
    chosen = spec["calibrations"]
    context.phase("reading", len(chosen), "calibrations")
    files: dict[str, bytes] = {}
    for done, calibration in enumerate(chosen, start=1):
        data = context.artifact(calibration["job"], "calibration.json")
        document = read_calibration(data)
        try:
            path = calibration_path(document["experiment"], document["model_variant"])
        except ValueError as error:
            raise JobFault(
                "no_folder", f"The calibration of {calibration['job']}: {error} Calibrate again with another name."
            ) from error
        if path in files:
            raise JobFault(
                "same_folder",
                f"{calibration['job']} and another calibration would both be written to {path}. Export them separately.",
            )
        files[path] = data
        context.progress(done)
    file = ArtifactBytes("calibrations.tar.gz", archives.tar_gz(files), archives.MEDIA_TYPE)
    notes = ["Unpack this archive in the folder that contains `experiments`."]
    summary = {"file": file.name, "format": spec["format"], "calibrations": len(files), "notes": notes}
    return Outcome(result={"export": summary}, artifacts=[file])


def _folder(vectors: Sequence[NamedVector], origin: Origin, spec: ExportSpec, context: JobContext) -> Written:
    """trait-interp's folder: a tensor for each vector, metadata for each method, and the answers."""
    wanted = {vector.key for vector in vectors}
    document = read_extraction(context.artifact(spec["extraction"], "extraction.json"))
    facts = [vector_facts for vector_facts in document["vectors"] if vector_facts["key"] in wanted]
    lines = read_responses(context.artifact(spec["extraction"], "responses.jsonl"))
    documents = {**trait_interp.metadata(facts, origin), **trait_interp.responses(lines)}
    files = {path: (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode() for path, content in documents.items()}
    context.phase("writing", len(vectors), "vectors")
    for done, vector in enumerate(vectors, start=1):
        files[trait_interp.tensor_path(vector)] = _pt(torch.from_numpy(vector.vector))
        context.progress(done)
    notes = [
        "Layer N is the output of block N. Unpack it in "
        f"experiments/{spec.get('experiment') or '{experiment}'}/extraction/{{category}}/{origin.trait}/"
        f"{spec.get('model_variant') or '{model variant}'}/."
    ]
    return ArtifactBytes(f"{origin.trait}.tar.gz", archives.tar_gz(files), archives.MEDIA_TYPE), notes, len(vectors)


def _state_dict(vectors: Sequence[NamedVector], origin: Origin, _spec: ExportSpec, _context: JobContext) -> Written:
    """One dictionary of tensors [D] by key."""
    tensors = {vector.key: torch.from_numpy(vector.vector) for vector in vectors}
    notes = ["A dictionary of tensors by position/component/method/layer; layer N is the output of block N."]
    return ArtifactBytes(f"{origin.trait}.pt", _pt(tensors), "application/octet-stream"), notes, len(vectors)


def _control_vectors(vectors: Sequence[NamedVector], origin: Origin, _spec: ExportSpec, _context: JobContext) -> Written:
    """A GGUF file for each position, component and method; if there is only one, the file itself without a folder."""
    kinds: dict[str, list[NamedVector]] = {}
    for vector in vectors:
        if vector.component in RESIDUAL_COMPONENTS and vector.layer:
            kinds.setdefault(vector.key.rsplit("/", 1)[0], []).append(vector)
    files, notes = {}, []
    for kind, members in kinds.items():
        files[f"{kind}.gguf"], _, said = write_vectors("gguf", members, origin)
        notes += [note for note in said if note not in notes]
    count = sum(map(len, kinds.values()))
    left_out = len(vectors) - count
    if left_out:
        notes.append(
            f"{left_out:,} of {len(vectors):,} vectors are left out: those of layer 0, which llama.cpp refuses, and of k_proj and v_proj."
        )
    if len(files) == 1:
        return ArtifactBytes(f"{origin.trait}.gguf", next(iter(files.values())), gguf_vectors.MEDIA_TYPE), notes, count
    return ArtifactBytes(f"{origin.trait}.gguf.tar.gz", archives.tar_gz(files), archives.MEDIA_TYPE), notes, count


def _arrays(vectors: Sequence[NamedVector], origin: Origin, _spec: ExportSpec, _context: JobContext) -> Written:
    """A .npy file for each vector, with its key as the path."""
    files = {f"{vector.key}.npy": write_vectors("npy", [vector], origin)[0] for vector in vectors}
    notes = ["Paths are position/component/method/layer; layer N is the output of block N."]
    return ArtifactBytes(f"{origin.trait}.npy.tar.gz", archives.tar_gz(files), archives.MEDIA_TYPE), notes, len(vectors)


WRITERS: dict[str, Callable[[Sequence[NamedVector], Origin, ExportSpec, JobContext], Written]] = {
    "trait-interp": _folder,
    "pt": _state_dict,
    "gguf": _control_vectors,
    "npy": _arrays,
}


def _pt(content: torch.Tensor | dict[str, torch.Tensor]) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()
