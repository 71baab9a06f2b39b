"""Keeps the tensors that hooks apply to a batch at fixed addresses while rows enter and leave.

A recorded step (`recorded`) reads the addresses with which it was recorded. So each tensor of each site's rounds is allocated once, for all
slots of the batch, and the values of the present rows are copied into it. Slots without a row, and tensors that no present row uses, are zero,
which changes nothing (`site_actions`).
"""

from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from workers.lm.interventions import Site
from workers.lm.site_actions import Round, SiteAction

PARTS = tuple(field.name for field in fields(Round))


class PlacedActions:
    """The tensors for a batch of `slots` rows. Tensors are only added, so programs that alternate are allocated once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._placed: dict[Site, list[Round]] = {}

    def take(self, actions: Mapping[Site, SiteAction]) -> bool:
        """Copies the actions of the first rows into the tensors; returns True if a tensor had to be allocated, which makes recorded steps
        outdated."""
        grown = False
        for site, action in actions.items():
            rounds = self._placed.setdefault(site, [])
            while len(rounds) < len(action.rounds):
                rounds.append(Round())
            for placed, given in zip(rounds, action.rounds, strict=False):
                grown |= _make_room(placed, given, self._slots)
        for site, rounds in self._placed.items():
            given_rounds = list(actions[site].rounds) if site in actions else []
            for index, placed in enumerate(rounds):
                _copy(placed, given_rounds[index] if index < len(given_rounds) else Round())
        return grown

    def of(self, rows: int) -> dict[Site, SiteAction]:
        """The hooks' actions on the first `rows` slots."""
        return {
            site: SiteAction(
                [Round(**{part: None if t is None else t[:rows] for part, t in _parts(placed)}) for placed in rounds]
            )
            for site, rounds in self._placed.items()
        }


def _parts(of: Round) -> list[tuple[str, Tensor | None]]:
    return [(part, getattr(of, part)) for part in PARTS]


def _make_room(placed: Round, given: Round, slots: int) -> bool:
    missing = [(part, tensor) for part, tensor in _parts(given) if tensor is not None and getattr(placed, part) is None]
    for part, tensor in missing:
        setattr(placed, part, tensor.new_zeros(slots, *tensor.shape[1:]))
    return bool(missing)


def _copy(placed: Round, given: Round) -> None:
    for (_, target), (_, source) in zip(_parts(placed), _parts(given), strict=True):
        if target is not None:
            rows = 0 if source is None else len(source)
            target[rows:].zero_()
            if source is not None:
                target[:rows].copy_(source)
