"""The checks of each family on its tiny model, each against an oracle that shares no code with what it checks. `examine` runs them all."""

import copy
import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tests.families.models import tiny_family
from tests.ml.steered_rows import naive
from workers.lm.architecture import find_layout
from workers.lm.capture import assert_no_hooks, prefill, reading
from workers.lm.checkpoint import quiet
from workers.lm.errors import ModelFault
from workers.lm.generation import GenerationCounts
from workers.lm.interventions import Push, Site
from workers.lm.model import LanguageModel
from workers.lm.proofs.addends import ULPS, addends
from workers.lm.proofs.rows import random_rows
from workers.lm.steered import SteeredRow, generate_steered

LENGTHS, SHARED, NEW, TOGETHER = (12, 12, 12, 12, 5, 5), 4, 4, 4
"""Six rows in a batch of four: on slots waiting rows enter as others leave; on the library's cache four rows step together, one leaves early."""


@dataclass(frozen=True)
class Examined:
    """One row of docs/families.md.

    `slots_residue`: why the engine of slots cannot run the family. `ladder_equal`: the answers stay the same when
    memory runs out and batches are halved. `reason` is empty where everything held.
    """

    family: str
    layer_class: str = ""
    structure: str = ""
    engine: str = ""
    slots_residue: str = ""
    addends_float32: float | None = None
    addends_bfloat16: float | None = None
    rows_equal: bool = False
    ladder_equal: bool = False
    verdict: str = "not built"
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(name: str) -> Examined:
    """All checks of one family: proven, failed, refused with the product's sentence, or not built with the library's error."""
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore")
            return _examined(name, tiny_family(name))
    except ModelFault as fault:
        return Examined(name, verdict="refused", reason=fault.sentence)
    except Exception as error:
        return Examined(name, reason=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")


def _examined(name: str, lm: LanguageModel) -> Examined:
    found = Examined(name, lm.layout.layer_class, structure_of(lm), lm.layout.structure.engine, verdict="failed")
    structure = lm.layout.structure
    if structure.engine != "slots":
        found = replace(found, slots_residue=_residue(structure.slots_residue))
    if structure.engine == "whole":
        found = replace(
            found, slots_residue=f"{found.slots_residue}; on the library's cache: {_residue(structure.library_residue)}"
        )
    try:
        check_states(lm)
        here = addends(lm).figure
        found = replace(found, addends_float32=here, addends_bfloat16=addends(_in_bfloat16(lm)).figure)
        lm, rows, alone = rows_alone(lm)
        sharing = replace(lm, pass_cost=0)  # computes every common beginning by itself
        found = replace(found, rows_equal=together(lm, rows) == together(sharing, rows) == alone)
        found = replace(found, ladder_equal=together(lm, rows, fits=1) == together(sharing, rows, fits=1) == alone)
        assert_no_hooks(lm.model)
    except Exception as error:
        return replace(found, reason=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    figures = max(found.addends_float32 or 0, found.addends_bfloat16 or 0)
    if figures > ULPS or not found.rows_equal or not found.ladder_equal:
        return replace(found, reason="addends, or rows in a batch, differ: see the columns")
    return replace(found, verdict="proven")


def _residue(residue: float | str | None) -> str:
    """Why an engine cannot run the family, in words."""
    return f"hidden states differ by {residue:.2g}" if isinstance(residue, float) else str(residue)


def _in_bfloat16(lm: LanguageModel) -> LanguageModel:
    model = copy.deepcopy(lm.model).to(torch.bfloat16)
    return replace(lm, model=model, layout=find_layout(model, lm.layout.structure), dtype=torch.bfloat16)


def structure_of(lm: LanguageModel) -> str:
    """The sums of all kinds of blocks, as text: m marks what mixes tokens."""
    sums: list[str] = []
    for block in lm.layout.structure.blocks.values():
        terms = [f"{' '.join(map(str, one.scale))} {one.path}{' (m)' if one.mixes else ''}".strip() for one in block.addends]
        sums.append(" + ".join([f"{' '.join(map(str, block.kept))} input".strip(), *terms]))
    sums = list(dict.fromkeys(sums))
    return "; ".join(sums if len(sums) < 4 else [*sums[:2], f"and so on, {len(sums)} sums"])


def check_states(lm: LanguageModel) -> None:
    """What capture reads at layer l is what block l + 1 is given, and after the final norm what the decoder gives."""
    [row] = random_rows(lm, [20], seed=5)
    given: list[Tensor] = []
    states: list[Tensor] = []
    blocks = [sites["residual"] for sites in lm.layout.sites]
    hooks = [
        block.register_forward_pre_hook(
            lambda _m, args, kw: given.append((args or (kw["hidden_states"],))[0].clone()), with_kwargs=True
        )
        for block in blocks
    ]
    try:
        with reading(lm, {"residual": lambda _layer, _component, h: states.append(h.clone())}):
            prefill(lm, row)
        with torch.no_grad():
            last = lm.layout.decoder(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    for layer in range(lm.layout.n_layers - 1):
        assert torch.equal(states[layer], given[layer + 1]), f"layer {layer} reads otherwise than block {layer + 1} is given"
    normed = states[-1] if lm.layout.final_norm is None else lm.layout.final_norm(states[-1])
    torch.testing.assert_close(normed, last, rtol=1e-4, atol=1e-4)


def rows_alone(lm: LanguageModel) -> tuple[LanguageModel, list[SteeredRow], list[list[int]]]:
    """Six steered rows with a common beginning, their answers by the naive loop, and the model with an id that ends one of them early."""
    first, *others = random_rows(lm, LENGTHS, seed=6)
    prompts = [first, *([*first[:SHARED], *ids[SHARED:]] for ids in others)]
    rows = [SteeredRow(prompt, (_push(lm, number),)) for number, prompt in enumerate(prompts)]
    answers = [naive(lm, row, NEW) for row in rows]
    end = answers[0][2]
    return (
        replace(lm, eos_ids=frozenset({end})),
        rows,
        [ids[: ids.index(end)] if end in ids else ids for ids in answers],
    )


def _push(lm: LanguageModel, number: int) -> Push:
    """At another site and layer for each row, half a hidden state long."""
    sites: list[Site] = [(number * 3 % lm.layout.n_layers, "residual")]
    sites += [(layer, c) for c in ("attn_contribution", "mlp_contribution") for layer in lm.layout.layers_with(c)]
    layer, component = sites[number % len(sites)]
    norms: list[float] = []
    with reading(lm, {component: lambda _l, _c, h: norms.append(float(h.norm(dim=-1).mean()))}, [layer]):
        prefill(lm, random_rows(lm, [8], seed=7)[0])
    vector = torch.randn(lm.layout.width(component, layer), generator=torch.Generator().manual_seed(number))
    return Push(layer, component, vector / vector.norm(), 0.5 * norms[0])


def together(lm: LanguageModel, rows: list[SteeredRow], *, fits: int = TOGETHER) -> list[list[int]]:
    """The rows' answers from the engine, where passes of more than `fits` rows run out of memory."""

    def limit(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is not None and len(ids) > fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    counts = GenerationCounts()
    hook = lm.layout.decoder.register_forward_pre_hook(limit, with_kwargs=True)
    try:
        answers = generate_steered(lm, rows, max_new_tokens=NEW, batch_rows=TOGETHER, counts=counts)
    finally:
        hook.remove()
    assert (counts.halvings > 0) == (fits < TOGETHER)
    assert all(answer.effect["fires"] == answer.effect["due"] > 0 for answer in answers)
    return [answer.ids for answer in answers]
