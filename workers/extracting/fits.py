"""Fits directions to captured rows, layer by layer, with the calibration's facts about each layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from terms.components import RESIDUAL_COMPONENTS
from terms.methods import Method
from workers.extracting.examples import Prompted
from workers.extracting.gathered import Gathered
from workers.extracting.soft_vector import Pair, train
from workers.lm.errors import ModelFault
from workers.lm.gather import Site
from workers.science.directions.base import Fit
from workers.science.directions.fitting import Direction, Layer, fit_all
from workers.science.examples import Examples

Training = tuple[int, int, int]
"""Layer, steps and seed of a vector that is trained through the model."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A direction with its position, component and layer."""

    position: str
    component: str
    layer: int
    direction: Direction

    @property
    def key(self) -> str:
        """`position/component/method/layer`: the direction's name in every result file."""
        return f"{self.position}/{self.component}/{self.direction.key}/{self.layer}"


def fit_everything(gathered: Gathered, methods: Sequence[Method], on_layer: Callable[[int], None]) -> list[Fitted]:
    """Fits every method at every site; a requested refit is left out where the resample determines no vector. `on_layer(done)` is called after
    each site and each step of a vector that is trained.

    Raises DegenerateRows, ModelFault layer_not_calibrated, too_few_ranked_dims, method_elsewhere, too_few_pairs, loss_not_finite.
    """
    spec = gathered.spec
    fitted = []
    trained: dict[Training, Fit] = {}
    may_lack = set(spec["refits"]) - set(spec["methods"])
    for done, site in enumerate(gathered.sites):
        position, component, layer = site
        own = _trained(gathered, site, methods, trained, partial(on_layer, done))
        layer_rows = replace(_layer(gathered, site, methods), own_fits=own)
        try:
            directions = fit_all(layer_rows, methods, seed=spec["seed"], resamples=spec["resamples"], may_lack=may_lack)
        except ValueError as error:
            if hasattr(error, "code"):
                error.args = (f"{position}, {component}, layer {layer}: {error}",)
                raise
            raise ModelFault("too_few_ranked_dims", str(error)) from error
        fitted += [Fitted(position, component, layer, direction) for direction in directions]
        on_layer(done + 1)
    return fitted


def _layer(gathered: Gathered, site: Site, methods: Sequence[Method]) -> Layer:
    position, component, layer = site
    examples, rows, calibration = gathered.examples, gathered.rows, gathered.calibration
    usable = [n for n, i in enumerate(rows.kept[position]) if examples[i].kept]
    chosen = [examples[rows.kept[position][n]] for n in usable]
    sides = {label: [example for example in chosen if example.label == label] for label in ("positive", "negative")}
    ranks = _ranks(examples)
    described = Examples.build(
        [example.cluster for example in sides["positive"]],
        [example.cluster for example in sides["negative"]],
        positive_train=[example.train for example in sides["positive"]],
        negative_train=[example.train for example in sides["negative"]],
        positive_ranks=[ranks[example.label, example.index] for example in sides["positive"]],
        negative_ranks=[ranks[example.label, example.index] for example in sides["negative"]],
    )
    values = rows.values[site].numpy()[usable]
    if calibration is None or component not in RESIDUAL_COMPONENTS:
        return Layer(values, described)
    if layer not in calibration.order and any(method.suffix for method in methods):
        raise ModelFault(
            "layer_not_calibrated",
            f"The calibration did not capture layer {layer}. Calibrate with all layers, then extract again.",
        )
    return Layer(values, described, calibration.massive_at.get(layer, calibration.massive), calibration.order.get(layer, []))


def _ranks(examples: Sequence[Prompted]) -> dict[tuple[str, int], int]:
    """The rank of every example within its class and cluster, before any example is left out, so that pairs stay pairs."""
    seen: dict[tuple[str, str], int] = {}
    ranks = {}
    for example in examples:
        ranks[example.label, example.index] = seen.get((example.label, example.cluster), 0)
        seen[example.label, example.cluster] = ranks[example.label, example.index] + 1
    return ranks


def _trained(
    gathered: Gathered, site: Site, methods: Sequence[Method], known: dict[Training, Fit], on_step: Callable[[], None]
) -> dict[str, Fit]:
    """The vectors trained through the model (lm_loss) for one site, by method key.

    `known` keeps every trained vector: methods that differ only in suffix, and all positions of a layer, share one training.
    """
    _, component, layer = site
    calibration = gathered.calibration
    fits: dict[str, Fit] = {}
    for method in methods:
        if method.base == "lm_loss":
            if component != "residual":
                raise ModelFault(
                    "method_elsewhere", f"lm_loss is trained at the residual stream. Leave out either lm_loss or {component}."
                )
            if calibration is None or layer not in calibration.clean_norms:
                raise ModelFault(
                    "layer_not_calibrated",
                    f"lm_loss needs the clean norm of layer {layer}. Calibrate with all layers, then extract again.",
                )
            training = (layer, int(method.parameters["steps"]), int(method.parameters["seed"]))
            if training not in known:
                steps, seed = training[1:]
                norm = calibration.clean_norms[layer]
                pairs = _pairs(gathered.examples)
                known[training] = train(gathered.lm, pairs, layer=layer, norm=norm, steps=steps, seed=seed, on_step=on_step)
            fits[method.key] = known[training]
    return fits


def _pairs(examples: Sequence[Prompted]) -> list[Pair]:
    """Training pairs by cluster and rank: the negative prompt with both responses. An example without its partner, which vetting dropped or
    which has no response, trains nothing. Classes that share no cluster are paired in their order.
    """
    ranks = _ranks(examples)
    usable: dict[str, dict[tuple[str, int], Prompted]] = {"positive": {}, "negative": {}}
    for example in examples:
        if example.train and example.kept and example.response_ids:
            usable[example.label][example.cluster, ranks[example.label, example.index]] = example
    positives, negatives = usable["positive"], usable["negative"]
    if {cluster for cluster, _ in positives}.isdisjoint(cluster for cluster, _ in negatives):
        matched = list(zip(positives.values(), negatives.values(), strict=False))
    else:
        matched = [(positive, negatives[key]) for key, positive in positives.items() if key in negatives]
    return [Pair(n.ids, p.response_ids, n.response_ids) for p, n in matched]
