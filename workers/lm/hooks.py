"""Adds hooks to a model that apply a batch's pushes, record where they fired and measure the change; the hooks are always removed.

B batch rows, T positions, D width of a site. Each site has two hooks: the first changes the module's output, the second reads the output that
the module then passes on. A lost push (a bypassed hook, a push below the type's precision) therefore shows as no change. The caller gives the
change of each site, for all rows at once, to `Hooks.during` around each pass.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from terms.components import Component
from workers.lm.capture import RowsAndTokens
from workers.lm.interventions import Site
from workers.lm.model import LanguageModel
from workers.lm.structure.recording import Args, Passed

Action = Callable[[Tensor], Tensor]
"""Returns the changed hidden states [B, T, D] of a site."""
IN_A_BLOCK: tuple[Component, ...] = (
    "k_proj",
    "v_proj",
    "attn_out",
    "attn_contribution",
    "mlp_out",
    "mlp_contribution",
    "residual",
)
"""Components in the order in which a block computes them."""


@dataclass
class Hooks:
    """The actions of the hooks in the next pass, and their records of the last pass."""

    actions: Mapping[Site, Action] = field(default_factory=dict)
    fired: set[Site] = field(default_factory=set)
    changes: list[Tensor] = field(default_factory=list)
    measuring: bool = False

    @contextmanager
    def during(self, actions: Mapping[Site, Action], *, measuring: bool = False) -> Iterator[None]:
        """Applies `actions` to the passes within the block and clears earlier records. `measuring` requires T = 1."""
        self.actions, self.fired, self.changes, self.measuring = actions, set(), [], measuring
        try:
            yield
        finally:
            self.actions = {}

    def change(self) -> Tensor | None:
        """Sum over the sites that fired of |h after - h before|, float32 [B]; None when none was measured."""
        return torch.stack(self.changes).sum(0) if self.changes else None


@contextmanager
def hooked(lm: LanguageModel, sites: Iterable[Site]) -> Iterator[Hooks]:
    """Installs hooks at `sites` and removes them when the block ends, also after an exception. Outside of `Hooks.during` they change nothing.

    In a model without post-norms, one module is two components: the output of attention or MLP, and its contribution. The output is then changed
    before the contribution, as in models with two modules.

    Raises ModelFault layer_out_of_range, unknown_component.
    """
    hooks = Hooks()
    handles: list[RemovableHandle] = []
    try:
        modules = {site: lm.layout.site(*site) for site in sites}
        for site in sorted(modules, key=_place):
            module = modules[site]
            change, read = _pair(hooks, site, lm.layout.scale(*site), RowsAndTokens(lm, *site, handles))
            handles += [module.register_forward_hook(change), module.register_forward_hook(read)]
        yield hooks
    finally:
        for handle in handles:
            handle.remove()


def _place(site: Site) -> tuple[int, int]:
    layer, component = site
    return layer, IN_A_BLOCK.index(component)


def _pair(hooks: Hooks, site: Site, scale: float, shape: RowsAndTokens) -> tuple[Callable[..., Passed], Callable[..., None]]:
    """The two hooks of a site. The pushed value is `scale` times the module's output; values without a push stay bit-identical."""
    before: list[Tensor] = []

    def change(_module: nn.Module, _inputs: Args, output: Passed) -> Passed:
        action = hooks.actions.get(site)
        if action is None:
            return None  # another value would replace the module's output
        given = output[0] if isinstance(output, tuple) else output
        assert isinstance(given, Tensor)
        h_BTD = shape(given)
        changed = action(h_BTD) if scale == 1 else h_BTD + (action(h_BTD * scale) - h_BTD * scale) / scale
        before[:] = [h_BTD]  # only now: after an action that ran out of memory, `read` would take it for the next pass's
        changed = changed.view_as(given) if given.ndim == 2 else changed
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    def read(_module: nn.Module, _inputs: Args, output: Passed) -> None:
        if not before:
            return
        h_BTD = before.pop()
        hooks.fired.add(site)
        if hooks.measuring:
            handed_on = output[0] if isinstance(output, tuple) else output
            assert isinstance(handed_on, Tensor)
            handed_on = shape(handed_on)
            hooks.changes.append(abs(scale) * (handed_on.float() - h_BTD.float()).norm(dim=-1)[:, -1])

    return change, read
