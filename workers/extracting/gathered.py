"""What an extraction fits its methods on: the examples with their answers, the rows captured from them, and what the calibration says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from binnacle.words.massive import listed, massive_at, rule_of
from terms.documents.calibration import CalibrationDocument
from terms.specs import ExtractionSpec
from workers.extracting.examples import Prompted
from workers.lm.gather import Rows, Site
from workers.lm.model import LanguageModel


@dataclass(frozen=True)
class Calibrated:
    """What an extraction reads of calibration.json. `massive` is the whole list, `massive_at` each captured layer's own."""

    weight_hash: str
    rule: str
    massive: list[int]
    massive_at: Mapping[int, list[int]]
    order: Mapping[int, list[int]]
    clean_norms: Mapping[int, float]

    @classmethod
    def read(cls, content: CalibrationDocument) -> "Calibrated":
        """From the whole file."""
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
    """An extraction's material. `positions` and `layers` are those asked for, in their order; `calibration` is None without one."""

    lm: LanguageModel
    spec: ExtractionSpec
    examples: Sequence[Prompted]
    rows: Rows
    positions: Sequence[str]
    layers: Sequence[int]
    calibration: Calibrated | None

    @property
    def sites(self) -> list[Site]:
        """Every (position, component, layer) that vectors are fitted at."""
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
