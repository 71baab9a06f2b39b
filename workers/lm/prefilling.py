"""Computes the first tokens of rows that enter a batch. What prompts share at their beginnings is computed once, up to the layer where their
pushes differ.

N rows, T positions, L layers, D hidden. A row's prefix is its prompt without the last token. The prefixes form a tree (`prefixes`), and a pass
computes some of its segments side by side, after the same earlier tokens, which lie in the rows' slots. Two rows with the same segment have the
same hidden states at the input of a block when the same pushes act on their prompts before it; such rows are one class there. The pass grows:
where a class splits, the hook on the block before it copies the class's hidden states to the new classes and then pushes. The keys and values of
each layer go to the slots of all rows of the class. So five doses of one vector at layer 15 share the blocks 0 to 15, and rows that are steered
only in their response, or not at all, share the whole prompt. Where a pass of the model cannot grow, rows with other pushes are classes of their
own from the first block on.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TypeVar

import torch
from torch import Tensor

from workers.lm.hooks import Hooks
from workers.lm.interventions import Push, Site
from workers.lm.masks import rows_at
from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import pass_cost, pass_tokens
from workers.lm.prefixes import Segment, plan_of
from workers.lm.site_actions import SiteAction, VectorBank, action_for, programs_at
from workers.lm.slots import SlotCache

Made = TypeVar("Made")
Felt = tuple[tuple[Site, Hashable], ...]
"""A push's site and identity, for each push on a row's prompt."""


def sites_to_hook(sites: set[Site]) -> set[Site]:
    """Returns `sites`, and for each site inside a block also the block before it, because classes may split there."""
    return sites | {(layer - 1, "residual") for layer, component in sites if component != "residual" and layer > 0}


def prefill_rows(  # noqa: PLR0913 - three columns of rows, and the batch's four parts
    lm: LanguageModel,
    hooks: Hooks,
    bank: VectorBank,
    cache: SlotCache,
    prefixes: Sequence[Sequence[int]],
    pushes: Sequence[Sequence[Push]],
    slots: Sequence[int],
    on_pass: Callable[[], None] = lambda: None,
) -> list[tuple[Segment, set[Site]]]:
    """Fills the rows' slots with their prefixes and returns the segments that were computed, each with the sites at which hooks fired. An empty
    prefix clears its slot. `on_pass()` is called after each pass and may raise."""
    empty = [slot for slot, prefix in zip(slots, prefixes, strict=True) if not prefix]
    if empty:
        cache.clear(empty)
    computed: list[tuple[Segment, set[Site]]] = []
    felt = [_felt(lm, bank, program) for program in pushes]
    for part in parts_of(lm, prefixes, felt):
        classes = _Classes(lm, bank, part, pushes, felt)
        start, width = part[0].start, len(part[0])
        lengths = [len(segment) for segment in part for _ in segment.rows]
        real_NT = torch.arange(width, device=lm.device) < torch.tensor(lengths, device=lm.device)[:, None]
        taken = torch.tensor([slots[row] for segment in part for row in segment.rows], device=lm.device)
        cache.prefilling(taken.tolist(), lengths, real_NT, classes.of_rows(), start, classes.slots(taken) if start else ())
        ids = [prefixes[segment.rows[0]][start : segment.stop] for segment in classes.segments()]
        positions_1T = torch.arange(start, start + width, device=lm.device)[None]
        with hooks.during(classes.actions()), rows_at(positions_1T):
            lm.layout.decoder(
                input_ids=torch.tensor([[*own, *[lm.pad_id] * (width - len(own))] for own in ids], device=lm.device),
                position_ids=positions_1T,
                past_key_values=cache,
                use_cache=True,
            )
        computed += [(segment, hooks.fired) for segment in part]
        on_pass()
    return computed


def parts_of(lm: LanguageModel, prefixes: Sequence[Sequence[int]], programs: Sequence[Hashable] = ()) -> list[list[Segment]]:
    """The segments of each pass over these prefixes on this model's device (see `passes_of`)."""
    return passes_of(prefixes, pass_tokens(lm), pass_cost(lm), programs)


def passes_of(prefixes: Sequence[Sequence[int]], most: int, cost: int, programs: Sequence[Hashable] = ()) -> list[list[Segment]]:
    """Divides the prefixes into segments, and these into passes in the order in which they run, each with its longest segment first. Pads are
    few, or in a small batch fewer than the tokens that another pass costs (see `plan_of`).

    Rows with equal `programs` (by default all) are not parted by pushes. What is computed as a row of its own counts with the tokens before its
    segment, to which it attends. Together they are as many tokens as in whole rows of the longest prefix that `most` tokens hold, and at least
    one row: so a pass takes no more memory than `Room.needed` counts for such rows. A segment of many rows may be in several passes."""
    rows = [row for row, prefix in enumerate(prefixes) if prefix]
    longest = max(map(len, prefixes), default=0)
    plan = plan_of([prefixes[row] for row in rows], pass_tokens=most, pass_cost=cost, spare_pads=cost)
    room = max(1, most // max(1, longest)) * longest
    named = [[Segment(tuple(rows[n] for n in at.rows), at.start, at.stop) for at in pass_.segments] for pass_ in plan.passes]
    return [part for segments in named for part in _cut(segments, room, programs)]


def _cut(segments: Sequence[Segment], room: int, programs: Sequence[Hashable]) -> Iterator[list[Segment]]:
    """Divides a pass where more of its rows are computed by themselves than `room` tokens hold."""
    together: list[tuple[Segment, tuple[int, ...]]] = []
    for segment in segments:
        by_program: dict[Hashable, list[int]] = {}
        for row in segment.rows:
            by_program.setdefault(programs[row] if programs else None, []).append(row)
        together += [(segment, tuple(alike)) for alike in by_program.values()]
    while together:
        count = max(1, room // together[0][0].stop)
        here, together = together[:count], together[count:]
        yield [
            Segment(tuple(row for _, alike in parts for row in alike), at.start, at.stop)
            for at, parts in groupby(here, key=itemgetter(0))
        ]


def _felt(lm: LanguageModel, bank: VectorBank, program: Sequence[Push]) -> Felt:
    """The pushes on a row's prompt, in order; equal for rows that are pushed alike."""
    pushes = [push for push in program if push.acts_in("prompt")]
    return tuple((site, bank.identity(push)) for push in pushes for site in push.sites(lm.layout.n_layers))


class _Classes:
    """Divides the rows of a pass into classes, at the input of each block and after the last block. Rows of one class are computed as one row.

    `_levels[block][row]` is the number of the row's class. A push inside a block splits classes at the input of that block; a push on the
    residual stream, which is the output of a block, splits them at the input of the next block. Where a pass cannot grow, all pushes split them
    at the input of the first block.
    """

    def __init__(
        self,
        lm: LanguageModel,
        bank: VectorBank,
        segments: Sequence[Segment],
        pushes: Sequence[Sequence[Push]],
        felt: Sequence[Felt],
    ) -> None:
        self._lm, self._bank = lm, bank
        self._segments = [segment for segment in segments for _ in segment.rows]  # of each row
        rows = [row for segment in segments for row in segment.rows]
        self._pushes = [pushes[row] for row in rows]
        # block -> row -> pushes first felt at its input
        parting: list[dict[int, list[tuple[Site, Hashable]]]] = [{} for _ in range(lm.layout.n_layers + 1)]
        for place, row in enumerate(rows):
            for (layer, component), push in felt[row]:
                at = (layer + 1 if component == "residual" else layer) if lm.layout.structure.grows else 0
                parting[at].setdefault(place, []).append(((layer, component), push))
        first = [(segment, tuple(parting[0].get(row, ()))) for row, segment in enumerate(self._segments)]
        self._levels = [_numbered(first)]
        for parted in parting[1:]:
            before = self._levels[-1]
            self._levels.append(
                _numbered([(at, tuple(parted.get(row, ()))) for row, at in enumerate(before)]) if parted else before
            )

    def segments(self) -> list[Segment]:
        """The segment of each class at the input of the first block."""
        return [self._segments[row] for row in _first_rows(self._levels[0])]

    def of_rows(self) -> list[Tensor | None]:
        """For each layer the class of each row there; None where every row is a class by itself."""

        def numbers(level: Sequence[int]) -> Tensor | None:
            return None if max(level) + 1 == len(level) else torch.tensor(level, device=self._lm.device)

        return self._by_layer(numbers)

    def slots(self, slots_N: Tensor) -> list[Tensor]:
        """For each layer a slot of each class there, from the slots of the rows."""
        return self._by_layer(lambda level: slots_N[_first_rows(level)])

    def _by_layer(self, made_of: Callable[[Sequence[int]], Made]) -> list[Made]:
        made: dict[int, Made] = {}
        for level in self._levels:
            if id(level) not in made:
                made[id(level)] = made_of(level)
        return [made[id(level)] for level in self._levels[:-1]]

    def actions(self) -> dict[Site, SiteAction]:
        """The action of each site's hook on the classes of its pass."""
        actions: dict[Site, SiteAction] = {}
        for site, programs in programs_at(self._lm, self._pushes, ["prompt"] * len(self._pushes)).items():
            level = self._levels[site[0] + 1 if site[1] == "residual" else site[0]]
            actions[site] = action_for(self._lm, self._bank, [programs[row] for row in _first_rows(level)])
        for layer, (before, after) in enumerate(pairwise(self._levels)):
            if max(after) > max(before):
                parents = [before[row] for row in _first_rows(after)]
                residual = actions.setdefault((layer, "residual"), SiteAction())
                residual.spread = torch.tensor(parents, device=self._lm.device)
        return actions


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    """Numbers the keys: equal keys get equal numbers, counted from 0 in the order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _first_rows(level: Sequence[int]) -> list[int]:
    """The first row of each class."""
    first: dict[int, int] = {}
    for row, number in enumerate(level):
        first.setdefault(number, row)
    return list(first.values())
