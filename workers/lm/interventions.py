"""Interventions on a row's hidden states during generation: `Push`, its three operations, and the checks of a push.

    add         h <- h + c v                        scaled in float32, then cast to the model's type
    ablate      h <- h - c (h . u) u                at the output of EVERY layer; c = 1 removes the direction
    norm_match  h <- h + c |h without massive| u    per token

h is a token's hidden state, v the vector, c the coefficient. u is v with the `massive` dims set to zero, scaled to length 1; with `plain`,
u is v itself scaled to length 1. Ablating a vector with massive dims makes the answers empty, which looks like success.
Source: docs/science.md, 4.1. A row's pushes at the same site act in the given order, each on the result of the previous push.

This module describes the pushes of one row; `site_actions` and `hooks` apply them to a batch.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from terms.components import RESIDUAL_COMPONENTS
from terms.interventions import OPERATIONS, SCOPES, Operation, Scope
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel

Site = tuple[int, str]
"""(layer, component)."""
Frame = Literal["prompt", "response"]
"""Which part of a row a position belongs to; a prompt's last token is prompt, and its output predicts the first new token."""


@dataclass(frozen=True, eq=False)
class Push:
    """One vector, the place where it acts and its operation. `vector` is float [D], of the width of the component, on the CPU.

    `ablate` acts on the residual of every layer; its `layer` and `component` only say where the vector was extracted.
    """

    layer: int
    component: str
    vector: Tensor
    coefficient: float
    operation: Operation = "add"
    scope: Scope = "all"
    massive: tuple[int, ...] = ()
    plain: bool = False

    def acts_in(self, frame: Frame) -> bool:
        """Whether the push changes positions of `frame` (prompt or response)."""
        return self.scope in ("all", frame)

    def sites(self, n_layers: int) -> Iterator[Site]:
        """The (layer, component) places that the push changes."""
        if self.operation == "ablate":
            yield from ((layer, "residual") for layer in range(n_layers))
        else:
            yield self.layer, self.component

    def direction(self) -> Tensor:
        """The vector that the operation uses, float32 [D]: v itself for add, else u (see the module). Raises ModelFault no_clean_part."""
        vector = self.vector.detach().to(torch.float32)
        if self.operation == "add":
            return vector
        kept = vector.clone()
        if not self.plain:
            kept[list(self.massive)] = 0
        norm = float(kept.norm())
        if norm <= 1e-6 * float(vector.norm()):
            raise ModelFault(
                "no_clean_part",
                f"Nothing remains of a vector of layer {self.layer} without the massive dims {list(self.massive)[:8]}, so there is no "
                f"direction to {self.operation}. Use another vector, or the plain form.",
            )
        return kept / norm


def check_pushes(lm: LanguageModel, pushes: Iterable[Push]) -> None:
    """Raises ModelFault when a push cannot be applied to `lm`: layer_out_of_range, unknown_component, wrong_width, vector_not_finite,
    bad_coefficient, unknown_operation, unknown_scope, bad_massive_dims, no_clean_part."""
    for push in pushes:
        width = site_width(lm, (push.layer, push.component))
        where = f"at layer {push.layer}, {push.component}"
        if push.operation not in OPERATIONS:
            raise ModelFault(
                "unknown_operation", f"{push.operation!r} is not an operation. The operations are: {', '.join(OPERATIONS)}."
            )
        if push.scope not in SCOPES:
            raise ModelFault("unknown_scope", f"{push.scope!r} is not a scope. The scopes are: {', '.join(SCOPES)}.")
        if push.vector.shape != (width,):
            raise ModelFault(
                "wrong_width",
                f"A vector of shape {list(push.vector.shape)} cannot be used {where}, where this model has the width "
                f"{width}. It belongs to another model or component.",
            )
        if not torch.isfinite(push.vector).all() or not push.vector.any():
            raise ModelFault("vector_not_finite", f"The vector {where} is zero or holds values that are not finite.")
        if not math.isfinite(push.coefficient) or push.coefficient == 0:
            raise ModelFault(
                "bad_coefficient",
                f"The coefficient {where} is {push.coefficient}. It must be a finite number, and not 0: give an unsteered row no push.",
            )
        _check_massive(push, width)
        push.direction()


def _check_massive(push: Push, width: int) -> None:
    residual = push.component in RESIDUAL_COMPONENTS
    if push.massive and not (residual and 0 <= min(push.massive) <= max(push.massive) < width):
        raise ModelFault(
            "bad_massive_dims",
            f"The massive dims {list(push.massive)[:8]} do not fit {push.component} of width {width}: they are dims of the residual stream.",
        )
    if push.operation == "ablate" and not residual:
        raise ModelFault(
            "unknown_operation", f"ablate acts on the residual stream, and {push.component} is not in its coordinates."
        )


def site_width(lm: LanguageModel, site: Site) -> int:
    """D of the values at `site`. Raises ModelFault layer_out_of_range, unknown_component."""
    layer, component = site
    lm.layout.site(layer, component)
    return lm.layout.width(component, layer)
