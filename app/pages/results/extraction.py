"""Shows an extraction: how well each vector separates the classes, its massive share, and its stability."""

from collections.abc import Callable

from app.pages.plots.heat import heat
from app.pages.results.parts import Part, Sections, kept
from app.pages.wording import shown_of
from terms.documents.extraction import ExtractionDocument, VectorFacts

MOST_PLACES = 3


def sections(document: ExtractionDocument | None) -> Sections:
    """Returns the sections from extraction.json: three maps of methods by layers, for each of the first MOST_PLACES
    pairs of position and component.
    """
    vectors = document.get("vectors") or [] if document else []
    places = list(dict.fromkeys((vector["position"], vector["component"]) for vector in vectors))
    left_out = shown_of(MOST_PLACES, len(places), "places; extraction.json has all")
    parts: list[Part] = []
    for position, component in places[:MOST_PLACES]:
        own = [vector for vector in vectors if (vector["position"], vector["component"]) == (position, component)]
        name = f" at {position}, {component}" if len(places) > 1 else ""
        parts += kept(
            _map(own, f"Separation{name}", f"Accuracy on held-out examples. It does not predict steering.{left_out}", _accuracy),
            _map(
                own, f"Massive share{name}", f"The part of the vector's squared norm in massive dimensions.{left_out}", _massive
            ),
            _map(own, f"Stability{name}", f"Cosine between the vectors of two halves of the examples.{left_out}", _halves),
        )
    return Sections(parts)


def _map(vectors: list[VectorFacts], title: str, note: str, value: Callable[[VectorFacts], float | None]) -> Part | None:
    cells = {(vector["method"], str(vector["layer"])): cell for vector in vectors if (cell := value(vector)) is not None}
    rows = list(dict.fromkeys(method for method, _ in cells))
    layers = [str(layer) for layer in sorted({vector["layer"] for vector in vectors})]
    return heat(title, note, cells, rows, layers, "layer", ends=(0.0, 1.0))


def _accuracy(vector: VectorFacts) -> float | None:
    separation = vector.get("separation")
    return None if separation is None else separation.get("accuracy")


def _massive(vector: VectorFacts) -> float | None:
    massive = vector.get("massive")
    return None if massive is None else massive.get("share")


def _halves(vector: VectorFacts) -> float | None:
    stability = vector.get("stability")
    return None if stability is None else stability.get("split_half_cosine")
