"""Finds the norms in which doses are measured (docs/science.md, 4.2), by component and layer.

The residual stream and the contributions added to it: the calibration's clean_norms. Raw outputs, keys and values: the median norm of their own
tokens over the selection prompts, which the model reads here. Nothing is stored.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from terms.documents.calibration import CalibrationDocument
from workers.job import JobContext
from workers.lm.capture import prefill, reading_once
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.steering.vectors import Named

OF_THE_STREAM = ("residual", "attn_contribution", "mlp_contribution")


def clean_norms(calibration: CalibrationDocument) -> dict[int, float]:
    """Median clean norm of the residual stream, by layer."""
    return {int(layer): float(norm) for layer, norm in calibration["aggregate"]["clean_norms"].items()}


def units_for(
    named: Iterable[Named],
    lm: LanguageModel,
    calibration: CalibrationDocument,
    prompts: Sequence[Sequence[int]],
    context: JobContext,
) -> dict[tuple[str, int], float]:
    """The units at these vectors' layers and components; units that must be measured are a phase of the job."""

    def begin(total: int) -> None:
        context.phase("measuring norms", total, "prompts", share=0.02)

    return units_of(lm, [(vector.component, vector.layer) for vector in named], calibration, prompts, begin, context.progress)


def units_of(
    lm: LanguageModel,
    sites: Iterable[tuple[str, int]],
    calibration: CalibrationDocument,
    prompts: Sequence[Sequence[int]],
    begin: Callable[[int], None] = lambda _total: None,
    on_prompt: Callable[[int], None] = lambda _done: None,
) -> dict[tuple[str, int], float]:
    """The unit of each (component, layer). Where prompts must be read, `begin(total)` is called with the number of readings, and
    `on_prompt(done)` after each reading; it may raise. Raises ModelFault layer_not_calibrated."""
    norms = clean_norms(calibration)
    units: dict[tuple[str, int], float] = {}
    own: dict[str, list[int]] = {}
    for component, layer in sorted(set(sites)):
        if component not in OF_THE_STREAM:
            own.setdefault(component, []).append(layer)
        elif layer not in norms:
            raise ModelFault(
                "layer_not_calibrated",
                f"The calibration did not capture layer {layer}, so a dose there has no unit. Its layers are "
                f"{', '.join(map(str, sorted(norms)))}. Calibrate with all layers.",
            )
        else:
            units[component, layer] = norms[layer]
    if own:
        begin(len(own) * len(prompts))
    for place, (component, layers) in enumerate(own.items()):
        read = partial(_after, on_prompt, place * len(prompts))
        units |= {(component, layer): norm for layer, norm in _median_norms(lm, component, layers, prompts, read).items()}
    return units


def _after(on_prompt: Callable[[int], None], before: int, done: int) -> None:
    on_prompt(before + done)


def _median_norms(
    lm: LanguageModel, component: str, layers: Sequence[int], prompts: Sequence[Sequence[int]], on_prompt: Callable[[int], None]
) -> dict[int, float]:
    seen: dict[int, list[Tensor]] = {layer: [] for layer in layers}

    def read(layer: int, _component: str, tensor_BTD: Tensor) -> None:
        seen[layer].append(tensor_BTD[0].float().norm(dim=-1).cpu())

    for done, prompt in enumerate(prompts, start=1):
        with reading_once(lm, {component: read}, layers):
            prefill(lm, prompt)
        on_prompt(done)
    return {layer: float(torch.cat(norms).median()) for layer, norms in seen.items()}
