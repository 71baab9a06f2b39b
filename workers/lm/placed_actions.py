"""What hooks do to a batch, in tensors that stay where they are while rows come and go.

A recorded step (`recorded`) reads the addresses that it was recorded with. So each tensor of each site's rounds is made once, for all slots
of the batch, and what the present rows do is copied into it. Slots without a row, and tensors of which no present row makes use, are zero,
which changes nothing (`site_actions`).
"""

from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from workers.lm.interventions import Site
from workers.lm.site_actions import Round, SiteAction

PARTS = tuple(field.name for field in fields(Round))


class PlacedActions:
    """The tensors of a batch of `slots` rows. They only grow in number: programs that take turns are placed once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._placed: dict[Site, list[Round]] = {}

    def take(self, actions: Mapping[Site, SiteAction]) -> bool:
        """Copy what the first rows do into place; whether a tensor had to be made for it, so that what was recorded is out of date."""
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
        """What the hooks do to the first `rows` slots."""
        return {
            site: SiteAction([Round(**{part: None if t is None else t[:rows] for part, t in _parts(one)}) for one in rounds])
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
