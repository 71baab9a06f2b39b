"""The pushes of a whole batch at one site, as a few tensors: each row its own, applied without a loop over rows.

B batch rows, T positions, D width of the site, K distinct vectors. Vectors lie once in a `VectorBank` [K, D]; a row's push is gathered
from there with its coefficient. A row's consecutive additions are one addend, so that a batch of plain steering costs one addition a
site. Rows that have nothing to do in a round get zeros, which change nothing.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.lm.interventions import Frame, Push, Site
from workers.lm.model import LanguageModel


class VectorBank:
    """The distinct directions of many pushes, float32 on the model's device, one table per width."""

    def __init__(self, lm: LanguageModel, pushes: Iterable[Push]) -> None:
        self._place: dict[Push, int] = {}
        self._tables: dict[int, Tensor] = {}
        known: dict[tuple[int, str, tuple[int, ...], bool], tuple[Tensor, int]] = {}
        contents: dict[tuple[int, bytes], int] = {}
        stacked: dict[int, list[Tensor]] = {}
        for push in pushes:
            # by object first: many pushes share one tensor, and its bytes are then read once
            same = (id(push.vector), push.operation, push.massive, push.plain)
            if same not in known:
                direction = push.direction()
                width = len(direction)
                rows = stacked.setdefault(width, [])
                place = contents.setdefault((width, direction.numpy().tobytes()), len(rows))
                if place == len(rows):
                    rows.append(direction)
                known[same] = push.vector, place  # the tensor is kept alive, so that its id stays its own
            self._place[push] = known[same][1]
        for width, rows in stacked.items():
            self._tables[width] = torch.stack(rows).to(lm.device)

    def identity(self, push: Push) -> Hashable:
        """Equal for pushes that do the same to the same hidden states at the same site."""
        uncounted = push.massive if push.operation == "norm_match" else ()
        return len(push.vector), self._place[push], push.coefficient, push.operation, uncounted

    def directions(self, pushes: Sequence[Push]) -> Tensor:
        """[N, D], all of one width."""
        table = self._tables[len(pushes[0].vector)]
        return table[torch.tensor([self._place[push] for push in pushes], device=table.device)]


@dataclass
class Round:
    """What each row does next at the site. Of a row's three parts at most one is not zero."""

    addend: Tensor | None = None  # [B, D], in the model's type
    along: Tensor | None = None  # [B, D], float32 unit vectors of the rows that ablate or match norms
    ablate: Tensor | None = None  # [B, 1], coefficients
    match: Tensor | None = None  # [B, 1]
    kept: Tensor | None = None  # [B, D], 0 at the massive dims, which do not count in the norm

    def __call__(self, h_BTD: Tensor) -> Tensor:
        if self.along is not None:
            h_BTD = h_BTD + self._along(h_BTD.float()).to(h_BTD.dtype)
        return h_BTD if self.addend is None else h_BTD + self.addend[:, None]

    def _along(self, h_BTD: Tensor) -> Tensor:
        assert self.along is not None
        along_B1D = self.along[:, None]
        size_BT = h_BTD.new_zeros(h_BTD.shape[:2])
        if self.ablate is not None:  # `where` and not a product: 0 times an overflow is not 0
            size_BT = torch.where(self.ablate != 0, -self.ablate * (h_BTD * along_B1D).sum(-1), size_BT)
        if self.match is not None:
            assert self.kept is not None
            size_BT = torch.where(self.match != 0, self.match * (h_BTD * self.kept[:, None]).norm(dim=-1), size_BT)
        return size_BT[..., None] * along_B1D


@dataclass
class SiteAction:
    """h [B, T, D] -> h [B', T, D]: first `spread` [B'] says which of the given rows each row goes on from (None: each from its own), then
    the rounds."""

    rounds: Sequence[Round] = ()
    spread: Tensor | None = None

    def __call__(self, h_BTD: Tensor) -> Tensor:
        if self.spread is not None:
            h_BTD = h_BTD[self.spread]
        for act in self.rounds:
            h_BTD = act(h_BTD)
        return h_BTD


@dataclass
class FramedAction:
    """h [B, T, D] -> h [B, T, D] where a row's positions differ in frame; positions in neither frame (pads) stay as they are."""

    prompt: SiteAction
    response: SiteAction
    in_prompt: Tensor  # bool [B, T, 1]
    in_response: Tensor  # bool [B, T, 1]

    def __call__(self, h_BTD: Tensor) -> Tensor:
        pushed = torch.where(self.in_prompt, self.prompt(h_BTD), h_BTD)
        return torch.where(self.in_response, self.response(h_BTD), pushed)


def programs_at(lm: LanguageModel, rows: Sequence[Sequence[Push]], frames: Sequence[Frame]) -> dict[Site, list[list[Push]]]:
    """At each site in use, what each row does there in order. A row's positions are all of one frame here (`frames`, one a row)."""
    at: dict[Site, list[list[Push]]] = {}
    for row, (pushes, frame) in enumerate(zip(rows, frames, strict=True)):
        for push in pushes:
            if push.acts_in(frame):
                for site in push.sites(lm.layout.n_layers):
                    at.setdefault(site, [[] for _ in rows])[row].append(push)
    return at


def action_for(lm: LanguageModel, bank: VectorBank, programs: Sequence[Sequence[Push]]) -> SiteAction:
    """What rows do at one site, from what each does there in order. Round k holds the k-th part of each row's program."""
    parts = [_parts(program) for program in programs]
    return SiteAction([_round(lm, bank, parts, k) for k in range(max(map(len, parts)))])


def actions_for(
    lm: LanguageModel, bank: VectorBank, rows: Sequence[Sequence[Push]], frames: Sequence[Frame]
) -> dict[Site, SiteAction]:
    """What to do at each site in use, for rows whose positions are all of one frame each."""
    return {site: action_for(lm, bank, programs) for site, programs in programs_at(lm, rows, frames).items()}


def framed_actions(
    lm: LanguageModel, bank: VectorBank, rows: Sequence[Sequence[Push]], in_prompt_BT: Tensor, in_response_BT: Tensor
) -> dict[Site, FramedAction]:
    """What to do at each site in use, for rows of which both frames are computed in one pass."""
    prompt = actions_for(lm, bank, rows, ["prompt"] * len(rows))
    response = actions_for(lm, bank, rows, ["response"] * len(rows))
    nothing = SiteAction()
    return {
        site: FramedAction(
            prompt.get(site, nothing), response.get(site, nothing), in_prompt_BT[..., None], in_response_BT[..., None]
        )
        for site in prompt.keys() | response.keys()
    }


def _parts(program: Sequence[Push]) -> list[list[Push]]:
    """Consecutive additions are one part; any other push is one."""
    parts: list[list[Push]] = []
    for push in program:
        if push.operation == "add" and parts and parts[-1][0].operation == "add":
            parts[-1].append(push)
        else:
            parts.append([push])
    return parts


def _round(lm: LanguageModel, bank: VectorBank, parts: Sequence[Sequence[Sequence[Push]]], k: int) -> Round:
    here = [(row, push) for row, program in enumerate(parts) if k < len(program) for push in program[k]]
    adding = [(row, push) for row, push in here if push.operation == "add"]
    others = [(row, push) for row, push in here if push.operation != "add"]
    made = Round()
    if adding:
        made.addend = _placed(lm, bank, adding, len(parts), scaled=True).to(lm.dtype)
    if others:
        made.along = _placed(lm, bank, others, len(parts), scaled=False)
        made.ablate = _coefficients(lm, others, len(parts), "ablate")
        made.match = _coefficients(lm, others, len(parts), "norm_match")
        if made.match is not None:
            made.kept = torch.ones_like(made.along)
            for row, push in others:
                made.kept[row, list(push.massive)] = 0
    return made


def _placed(lm: LanguageModel, bank: VectorBank, pushes: Sequence[tuple[int, Push]], n_rows: int, *, scaled: bool) -> Tensor:
    """Each push's direction, times its coefficient where `scaled`, in its row; float32 [B, D], zero elsewhere."""
    directions_ND = bank.directions([push for _, push in pushes])
    if scaled:
        directions_ND = directions_ND * torch.tensor([[push.coefficient] for _, push in pushes], device=lm.device)
    rows = torch.tensor([row for row, _ in pushes], device=lm.device)
    return directions_ND.new_zeros(n_rows, directions_ND.shape[1]).index_add_(0, rows, directions_ND)


def _coefficients(lm: LanguageModel, pushes: Sequence[tuple[int, Push]], n_rows: int, operation: str) -> Tensor | None:
    if not any(push.operation == operation for _, push in pushes):
        return None
    values = [[0.0]] * n_rows
    for row, push in pushes:
        if push.operation == operation:
            values[row] = [push.coefficient]
    return torch.tensor(values, dtype=torch.float32, device=lm.device)
