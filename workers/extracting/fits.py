"""From captured rows to directions, layer by layer, with what the calibration says of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from binnacle.words.massive import listed, massive_at, rule_of
from terms.components import RESIDUAL_COMPONENTS
from terms.documents.calibration import CalibrationDocument
from terms.methods import Method
from terms.specs import ExtractionSpec
from workers.extracting.examples import Prompted
from workers.extracting.soft_vector import Pair, train
from workers.lm.errors import ModelFault
from workers.lm.gather import Rows, Site
from workers.lm.model import LanguageModel
from workers.science.directions.base import Fit
from workers.science.directions.fitting import Direction, Layer, fit_all
from workers.science.examples import Examples

Training = tuple[int, int, int]
"""Layer, steps and seed of a vector that is trained through the model."""


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
class Fitted:
    """A direction and where it stands."""

    position: str
    component: str
    layer: int
    direction: Direction

    @property
    def key(self) -> str:
        """`position/component/method/layer`, the name in every file."""
        return f"{self.position}/{self.component}/{self.direction.key}/{self.layer}"


def fit_everything(
    lm: LanguageModel,
    spec: ExtractionSpec,
    examples: Sequence[Prompted],
    rows: Rows,
    methods: Sequence[Method],
    sites: Sequence[Site],
    calibration: Calibrated | None,
    on_layer: Callable[[int], None],
) -> list[Fitted]:
    """Every method at every site. `on_layer(done)` is called after each site and each step of a vector that is trained.

    Raises DegenerateRows, ModelFault layer_not_calibrated, too_few_ranked_dims, method_elsewhere, too_few_pairs.
    """
    fitted = []
    trained: dict[Training, Fit] = {}
    for done, site in enumerate(sites):
        position, component, layer = site
        layer_rows = _layer(examples, rows, site, methods, calibration)
        own = _trained(lm, examples, site, methods, calibration, trained, partial(on_layer, done))
        layer_rows = replace(layer_rows, own_fits=own)
        try:
            directions = fit_all(layer_rows, methods, seed=spec["seed"], resamples=spec["resamples"])
        except ValueError as error:
            if hasattr(error, "code"):
                error.args = (f"{position}, {component}, layer {layer}: {error}",)
                raise
            raise ModelFault("too_few_ranked_dims", str(error)) from error
        fitted += [Fitted(position, component, layer, one) for one in directions]
        on_layer(done + 1)
    return fitted


def _layer(
    examples: Sequence[Prompted],
    rows: Rows,
    site: Site,
    methods: Sequence[Method],
    calibration: Calibrated | None,
) -> Layer:
    position, component, layer = site
    usable = [n for n, i in enumerate(rows.kept[position]) if examples[i].kept]
    chosen = [examples[rows.kept[position][n]] for n in usable]
    sides = {label: [one for one in chosen if one.label == label] for label in ("positive", "negative")}
    ranks = _ranks(examples)
    described = Examples.build(
        [one.cluster for one in sides["positive"]],
        [one.cluster for one in sides["negative"]],
        positive_train=[one.train for one in sides["positive"]],
        negative_train=[one.train for one in sides["negative"]],
        positive_ranks=[ranks[one.label, one.index] for one in sides["positive"]],
        negative_ranks=[ranks[one.label, one.index] for one in sides["negative"]],
    )
    values = rows.values[site].numpy()[usable]
    if calibration is None or component not in RESIDUAL_COMPONENTS:
        return Layer(values, described)
    if layer not in calibration.order and any(one.suffix for one in methods):
        raise ModelFault(
            "layer_not_calibrated",
            f"The calibration did not capture layer {layer}. Calibrate with all layers, then extract again.",
        )
    return Layer(values, described, calibration.massive_at.get(layer, calibration.massive), calibration.order.get(layer, []))


def _ranks(examples: Sequence[Prompted]) -> dict[tuple[str, int], int]:
    """Place of every example among its class in its cluster, before any is left out: so that pairs stay pairs."""
    seen: dict[tuple[str, str], int] = {}
    ranks = {}
    for one in examples:
        ranks[one.label, one.index] = seen.get((one.label, one.cluster), 0)
        seen[one.label, one.cluster] = ranks[one.label, one.index] + 1
    return ranks


def _trained(
    lm: LanguageModel,
    examples: Sequence[Prompted],
    site: Site,
    methods: Sequence[Method],
    calibration: Calibrated | None,
    known: dict[Training, Fit],
    on_step: Callable[[], None],
) -> dict[str, Fit]:
    """The vectors of methods that are trained through the model, by key; each is trained once for all positions and suffixes (`known`)."""
    _, component, layer = site
    found: dict[str, Fit] = {}
    for method in methods:
        if method.base == "lm_loss":
            if component != "residual":
                raise ModelFault("method_elsewhere", f"lm_loss is trained at the residual stream; leave it out, or {component}.")
            if calibration is None or layer not in calibration.clean_norms:
                raise ModelFault(
                    "layer_not_calibrated",
                    f"lm_loss needs the clean norm of layer {layer}. Calibrate with all layers, then extract again.",
                )
            training = (layer, int(method.parameters["steps"]), int(method.parameters["seed"]))
            if training not in known:
                steps, seed = training[1:]
                norm = calibration.clean_norms[layer]
                known[training] = train(lm, _pairs(examples), layer=layer, norm=norm, steps=steps, seed=seed, on_step=on_step)
            found[method.key] = known[training]
    return found


def _pairs(examples: Sequence[Prompted]) -> list[Pair]:
    """Training pairs by place: the negative prompt with both responses."""
    sides = {
        label: [one for one in examples if one.label == label and one.train and one.kept and one.response_ids]
        for label in ("positive", "negative")
    }
    return [Pair(n.ids, p.response_ids, n.response_ids) for p, n in zip(sides["positive"], sides["negative"], strict=False)]
