"""Shows an extraction: how well each vector separates the classes, its massive share, and its stability."""

from collections.abc import Callable

from app.pages.plots.heat import heat
from app.pages.results.parts import Part, Sections, kept
from app.pages.wording import shown_of
from terms.documents.extraction import ExtractionDocument, VectorFacts

MOST_PLACES = 3


def sections(document: ExtractionDocument | None) -> Sections:
    """Returns the sections from extraction.json: three maps of methods by layers, for each position and component."""
    vectors = document.get("vectors") or [] if document else []
    places = list(dict.fromkeys((one["position"], one["component"]) for one in vectors))
    left_out = shown_of(MOST_PLACES, len(places), "places; extraction.json has all")
    parts: list[Part] = []
    for position, component in places[:MOST_PLACES]:
        own = [one for one in vectors if (one["position"], one["component"]) == (position, component)]
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
    cells = {(one["method"], str(one["layer"])): found for one in vectors if (found := value(one)) is not None}
    rows = list(dict.fromkeys(method for method, _ in cells))
    layers = [str(layer) for layer in sorted({one["layer"] for one in vectors})]
    return heat(title, note, cells, rows, layers, "layer", ends=(0.0, 1.0))


def _accuracy(one: VectorFacts) -> float | None:
    found = one.get("separation")
    return None if found is None else found.get("accuracy")


def _massive(one: VectorFacts) -> float | None:
    found = one.get("massive")
    return None if found is None else found.get("share")


def _halves(one: VectorFacts) -> float | None:
    found = one.get("stability")
    return None if found is None else found.get("split_half_cosine")
