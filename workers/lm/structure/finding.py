"""Finds the structure of a model on a small twin of its decoder. Raises ModelFault unknown_architecture, with the modules and the residue."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from workers.lm.errors import ModelFault, first_few
from workers.lm.structure import engines
from workers.lm.structure.decoders import blocks_of, described, kind_of, text_config
from workers.lm.structure.mixing import keys_and_values, mixers, raw_of
from workers.lm.structure.recording import Recording, record
from workers.lm.structure.search import FITS, Sum, find_sum
from workers.lm.structure.twin import constants_of, decoder_twin, run, token_ids
from workers.lm.structure.values import Addend, BlockStructure, Factor, Structure, at_layer

EQUAL = 1e-6
_structures: dict[tuple[type[nn.Module], str], Structure] = {}


def find_structure(decoder: nn.Module) -> Structure:
    """The structure of `decoder`, which may be on the meta device; computed once for each class and config in a process."""
    key = type(decoder), described(text_config(decoder))
    if key not in _structures:
        blocks = blocks_of(decoder)
        structure = structure_of_twin(twin := decoder_twin(decoder, blocks))
        if any("@" in key for key in structure.blocks) and len(blocks_of(twin)) < len(blocks):
            structure = structure_of_twin(decoder_twin(decoder, blocks, layers=len(blocks)))
        _structures[key] = structure
    return _structures[key]


def structure_of_twin(twin: nn.Module) -> Structure:
    """Finds the structure by running this decoder itself."""
    blocks = blocks_of(twin)
    states: list[Tensor] = []
    seen = record(blocks, lambda: states.append(run(twin, token_ids(twin))))
    sums = [_sum_of(block, was) for block, was in zip(blocks, seen, strict=True)]
    mixing = mixers(twin, blocks, seen, sums)
    projections = keys_and_values(twin, blocks, seen, mixing)
    made = [_block(*arguments) for arguments in zip(blocks, seen, sums, mixing, projections, strict=True)]
    by_kind = _by_kind([kind_of(block) for block in blocks], made)
    slots = engines.residue_of(engines.on_slots, twin)
    norm = _final_norm(twin, seen[-1], states[0])
    if engines.works(slots):
        grows = engines.works(engines.residue_of(engines.on_more_rows, twin))
        return Structure(by_kind, norm, "slots", slots, grows=grows)
    library = engines.residue_of(engines.on_library_cache, twin)
    return Structure(by_kind, norm, "library" if engines.works(library) else "whole", slots, library)


def _by_kind(kinds: Sequence[str], made: Sequence[BlockStructure]) -> dict[str, BlockStructure]:
    """One entry for each kind, or one for each layer of a kind where the layers differ in their addends or constants."""
    by_kind: dict[str, BlockStructure] = {}
    for layer, (kind, block_structure) in enumerate(zip(kinds, made, strict=True)):
        alike = {(other.addends, other.kept) for other_kind, other in zip(kinds, made, strict=True) if other_kind == kind}
        by_kind.setdefault(kind if len(alike) == 1 else at_layer(kind, layer), block_structure)
    return by_kind


def _sum_of(block: nn.Module, seen: Recording) -> Sum:
    given = seen.input_BTD
    runs = seen.calls.get("", 0)
    if runs != 1 or given is None or seen.output_BTD is None or seen.output_BTD.shape != given.shape:
        raise _no_sum(
            block,
            f"is not a block of one residual stream: it ran {runs} times, where one run that keeps its input's shape was expected",
        )
    best = find_sum(seen)
    nearest = f"the nearest, {' + '.join(best.paths) or 'none'}, leaves {best.residue:.2g} of the change (at most {FITS:g})"
    if given.ndim != 3:
        several = f"carries several residual streams (its input is {list(given.shape)}, where rows x tokens x width was expected)"
        raise _no_sum(block, f"{several}, so one vector a layer and token does not describe it. Of sums of its modules {nearest}")
    if best.residue > FITS:
        raise _no_sum(
            block, f"adds something to the residual stream that is not the sum of one to three of its modules: {nearest}"
        )
    order = {path: place for place, path in enumerate(seen.outputs)}
    places = sorted(range(len(best.paths)), key=lambda k: order[best.paths[k]])
    return Sum(tuple(best.paths[k] for k in places), tuple(best.constants[k] for k in places), best.kept, best.residue)


def _no_sum(block: nn.Module, what: str) -> ModelFault:
    modules = first_few((name for name, _ in block.named_children()), limit=12)
    return ModelFault("unknown_architecture", f"{type(block).__name__} {what}. Its modules: {modules}.")


def _block(
    block: nn.Module, seen: Recording, block_sum: Sum, mixes: set[str], projections: tuple[str | None, str | None]
) -> BlockStructure:
    known = constants_of(block)
    addends = []
    for path, constant in zip(block_sum.paths, block_sum.constants, strict=True):
        raw = raw_of(seen, path)
        flat = tuple(sorted(seen.flat & {path, raw}))
        addends.append(Addend(path, path in mixes, factors(constant, known), raw, flat))
    return BlockStructure(tuple(addends), factors(block_sum.kept, known), *projections, block_sum.residue)


def factors(constant: float, known: Mapping[str, float]) -> tuple[Factor, ...]:
    """The constant as a product of at most two scalars of the block, or as a number."""
    if abs(constant - 1) < EQUAL:
        return ()
    names = sorted(known)
    for name in names:
        if abs(constant - known[name]) < EQUAL * abs(constant):
            return (name,)
    for place, name in enumerate(names):
        for other in names[place:]:
            if abs(constant - known[name] * known[other]) < EQUAL * abs(constant):
                return name, other
    return (round(constant, 9),)


def _final_norm(twin: nn.Module, last: Recording, state: Tensor) -> str | None:
    """The module directly under the decoder that turns the last block's output into the decoder's output; None if no one module does."""
    for name, child in twin.named_children():
        try:
            made = child(last.output_BTD)
        except Exception:
            continue
        if getattr(made, "shape", None) == state.shape and float((made - state).norm()) < EQUAL * float(state.norm()):
            return name
    return None
