"""Turns the pushes of a whole batch at one site into a few tensors, which act on each row differently without a loop over rows.

B batch rows, T positions, D width of the site, K distinct vectors. Vectors are stored once in a `VectorBank` [K, D]; a row's push is gathered
from there with its coefficient. A row's consecutive additions become one addend, so that a batch of plain steering costs one addition per site.
Rows with no action in a round get zeros, which change nothing.
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
            # looked up by object first: many pushes share one tensor, which is then hashed once
            same = (id(push.vector), push.operation, push.massive, push.plain)
            if same not in known:
                direction = push.direction()
                width = len(direction)
                rows = stacked.setdefault(width, [])
                place = contents.setdefault((width, direction.numpy().tobytes()), len(rows))
                if place == len(rows):
                    rows.append(direction)
                known[same] = push.vector, place  # the tensor is kept alive, so that its id is not reused
            self._place[push] = known[same][1]
        for width, rows in stacked.items():
            self._tables[width] = torch.stack(rows).to(lm.device)

    def identity(self, push: Push) -> Hashable:
        """A key that is equal for pushes with the same effect on the same hidden states at the same site."""
        uncounted = push.massive if push.operation == "norm_match" else ()
        return len(push.vector), self._place[push], push.coefficient, push.operation, uncounted

    def directions(self, pushes: Sequence[Push]) -> Tensor:
        """The directions of the pushes, [N, D], all of one width."""
        table = self._tables[len(pushes[0].vector)]
        return table[torch.tensor([self._place[push] for push in pushes], device=table.device)]


@dataclass
class Round:
    """One step of each row's program at the site: a row adds, ablates, matches norms, or does nothing, and its other entries are zero."""

    addend: Tensor | None = None  # [B, D], in the model's type
    along: Tensor | None = None  # [B, D], float32 unit vectors for ablate and match
    ablate: Tensor | None = None  # [B, 1], coefficients
    match: Tensor | None = None  # [B, 1]
    kept: Tensor | None = None  # [B, D], 0 at the massive dims, which are left out of the norm

    def __call__(self, h_BTD: Tensor) -> Tensor:
        if self.along is not None:
            h_BTD = h_BTD + self._along(h_BTD.float()).to(h_BTD.dtype)
        return h_BTD if self.addend is None else h_BTD + self.addend[:, None]

    def _along(self, h_BTD: Tensor) -> Tensor:
        assert self.along is not None
        along_B1D = self.along[:, None]
        size_BT = h_BTD.new_zeros(h_BTD.shape[:2])
        if self.ablate is not None:  # `where` instead of a product: 0 times an overflow is not 0
            size_BT = torch.where(self.ablate != 0, -self.ablate * (h_BTD * along_B1D).sum(-1), size_BT)
        if self.match is not None:
            assert self.kept is not None
            size_BT = torch.where(self.match != 0, self.match * (h_BTD * self.kept[:, None]).norm(dim=-1), size_BT)
        return size_BT[..., None] * along_B1D


@dataclass
class SiteAction:
    """The action at one site, h [B, T, D] -> h [B', T, D]: first `spread` [B'] selects the input row that each output row starts from (None: its
    own), then the rounds are applied."""

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
    """The action h [B, T, D] -> h [B, T, D] for rows with positions in different frames; positions in neither frame (pads) are unchanged."""

    prompt: SiteAction
    response: SiteAction
    in_prompt: Tensor  # bool [B, T, 1]
    in_response: Tensor  # bool [B, T, 1]

    def __call__(self, h_BTD: Tensor) -> Tensor:
        pushed = torch.where(self.in_prompt, self.prompt(h_BTD), h_BTD)
        return torch.where(self.in_response, self.response(h_BTD), pushed)


def programs_at(lm: LanguageModel, rows: Sequence[Sequence[Push]], frames: Sequence[Frame]) -> dict[Site, list[list[Push]]]:
    """For each site in use, each row's pushes there in order. All positions of a row are in one frame (`frames`, one per row)."""
    at: dict[Site, list[list[Push]]] = {}
    for row, (pushes, frame) in enumerate(zip(rows, frames, strict=True)):
        for push in pushes:
            if push.acts_in(frame):
                for site in push.sites(lm.layout.n_layers):
                    at.setdefault(site, [[] for _ in rows])[row].append(push)
    return at


def action_for(lm: LanguageModel, bank: VectorBank, programs: Sequence[Sequence[Push]]) -> SiteAction:
    """The action of several rows at one site, from each row's pushes there. Round k holds the k-th part of each row's program."""
    parts = [_parts(program) for program in programs]
    return SiteAction([_round(lm, bank, parts, k) for k in range(max(map(len, parts)))])


def actions_for(
    lm: LanguageModel, bank: VectorBank, rows: Sequence[Sequence[Push]], frames: Sequence[Frame]
) -> dict[Site, SiteAction]:
    """The action at each site in use, for rows with all positions in one frame."""
    return {site: action_for(lm, bank, programs) for site, programs in programs_at(lm, rows, frames).items()}


def framed_actions(
    lm: LanguageModel, bank: VectorBank, rows: Sequence[Sequence[Push]], in_prompt_BT: Tensor, in_response_BT: Tensor
) -> dict[Site, FramedAction]:
    """The action at each site in use, for rows with the prompt and the response in the same pass."""
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
    """Divides a program into parts: consecutive additions form one part; any other push is a part by itself."""
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
    """Each push's direction in its row, times its coefficient where `scaled`; float32 [B, D], zero elsewhere."""
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
