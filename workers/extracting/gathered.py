"""The inputs on which an extraction fits its methods: the examples with their answers, the rows captured from them, and the calibration's
facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binnacle.words.massive import listed, massive_at, rule_of
from terms.documents.calibration import CalibrationDocument
from terms.documents.extraction import CapturePlan
from terms.specs import ExtractionSpec
from workers.extracting.examples import Prompted
from workers.lm.gather import Rows, Site
from workers.lm.model import LanguageModel


@dataclass(frozen=True)
class Calibrated:
    """The parts of calibration.json that an extraction uses. `massive` is the whole list, `massive_at` each captured layer's own."""

    weight_hash: str
    rule: str
    massive: list[int]
    massive_at: Mapping[int, list[int]]
    order: Mapping[int, list[int]]
    clean_norms: Mapping[int, float]

    @classmethod
    def read(cls, content: CalibrationDocument) -> "Calibrated":
        """Selects these parts from the whole file."""
        aggregate = content["aggregate"]
        return cls(
            content["provenance"]["weight_hash"],
            rule_of(aggregate),
            listed(aggregate),
            {int(layer): massive_at(aggregate, int(layer)) for layer in aggregate["ratio_order_by_layer"]},
            {int(layer): dims for layer, dims in aggregate["ratio_order_by_layer"].items()},
            {int(layer): norm for layer, norm in aggregate["clean_norms"].items()},
        )


@dataclass(frozen=True, eq=False)
class Gathered:
    """An extraction's inputs. `positions` and `layers` are the requested ones, in the requested order; `calibration` is None without a
    calibration. `batch_plan`: the passes in which the rows were captured, perhaps by an earlier extraction."""

    lm: LanguageModel
    spec: ExtractionSpec
    examples: Sequence[Prompted]
    rows: Rows
    positions: Sequence[str]
    layers: Sequence[int]
    calibration: Calibrated | None
    batch_plan: CapturePlan

    @property
    def sites(self) -> list[Site]:
        """Every (position, component, layer) at which vectors are fitted."""
        return [
            (position, component, layer)
            for position in self.positions
            for component in self.spec["components"]
            for layer in self.layers
        ]

    @property
    def rule(self) -> str | None:
        """The rule behind the calibration's massive dims."""
        return None if self.calibration is None else self.calibration.rule
