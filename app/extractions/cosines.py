"""Reads vectors from the store and computes their cosines, on the HTTP side, with numpy only."""

from collections.abc import Sequence

import numpy as np
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray

from app.errors import Problem
from app.extractions.models import Vector
from app.extractions.results import CosinesOut, massive_rule
from app.formats.tensorfile import tensors_of
from app.http.context import Context
from app.storage.base import Storage, key_of
from app.storage.hashing import checked_pieces
from terms.methods import UnknownMethod, parse_method


def read_vectors(storage: Storage, rows: Sequence[Vector]) -> list[NDArray[np.float32]]:
    """Returns the numbers of these vectors, [D] each. Reads every object once, whole, to check its digest, but keeps a piece at a time. Raises
    StorageError."""
    vectors: dict[tuple[str, str], NDArray[np.float32]] = {}
    for digest in {row.digest for row in rows}:
        keys = [row.key for row in rows if row.digest == digest]
        vectors |= {(digest, key): vector for key, vector in tensors_of(checked_pieces(storage, key_of(digest)), keys).items()}
    return [vectors[row.digest, row.key] for row in rows]


async def cosines_of(context: Context, rows: Sequence[Vector]) -> CosinesOut:
    """Returns the cosines between the vectors of one layer, position and component, before and after cleaning.

    Leaves out refits and controls, except the random vector of seed 0. Raises Problem 422 if nothing else is left.
    """
    compared = [row for row in rows if _compared(row.method)]
    if not compared:
        raise Problem(
            422, "only_controls", "The vectors of this layer are all controls or refits, which this comparison leaves out."
        )
    vectors = np.stack([vector.astype(np.float64) for vector in await run_in_threadpool(read_vectors, context.storage, compared)])
    known = next((row for row in compared if massive_of(row) is not None), compared[0])
    massive = massive_of(known) or []
    clean = vectors.copy()
    clean[:, massive] = 0
    first = compared[0]
    return CosinesOut(
        layer=first.layer,
        position=first.position,
        component=first.component,
        massive_dims=massive,
        massive_rule=massive_rule(known),
        methods=[row.method for row in compared],
        before=_cosines(vectors),
        after=_cosines(clean),
    )


def massive_of(row: Vector) -> list[int] | None:
    """Returns the massive dims that are known of this vector; None if no list is known, as for an imported vector or one of k_proj."""
    massive = row.facts.get("massive")
    return None if massive is None else list(massive["dims"])


async def cosines_between(context: Context, rows: Sequence[Vector]) -> tuple[list[list[float]], list[list[float]]]:
    """Returns the cosines between vectors of one width, unchanged and with each vector's massive dims set to 0.

    A vector without a list (`massive_of`) stays unchanged in both. Raises Problem 422 for vectors of different
    widths.
    """
    widths = sorted({row.width for row in rows})
    if len(widths) > 1:
        detail = (
            f"The chosen vectors have widths {', '.join(map(str, widths))}; a cosine needs two vectors of the same width. "
            "Choose vectors of one model."
        )
        raise Problem(422, "different_widths", detail)
    vectors = np.stack([vector.astype(np.float64) for vector in await run_in_threadpool(read_vectors, context.storage, rows)])
    clean = vectors.copy()
    for at, row in enumerate(rows):
        clean[at, massive_of(row) or []] = 0
    return _cosines(vectors), _cosines(clean)


def _compared(method: str) -> bool:
    """Returns whether a method belongs in the comparison: no refit and no control but the random vector of seed 0."""
    try:
        parsed = parse_method(method)
    except UnknownMethod:
        return True
    return (
        parsed.base != "shuffled"
        and not (parsed.base == "random" and parsed.parameters["seed"])
        and not parsed.parameters.get("refit")
    )


def _cosines(vectors_KD: NDArray[np.float64]) -> list[list[float]]:
    norms = np.linalg.norm(vectors_KD, axis=1, keepdims=True)
    unit = np.divide(vectors_KD, norms, out=np.zeros_like(vectors_KD), where=norms > 0)
    return [[round(float(value), 6) for value in row] for row in unit @ unit.T]
