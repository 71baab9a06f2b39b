"""The proof `addends`: a block's output is its input plus the outputs of its modules, times the constants found, and nothing else.

Replayed from the captured input and addends in the model's own order and type, the sum equals the block's output bit for bit, so the proof needs
no second copy of the weights and no float32. (A subtraction is never used: output - input is not usable in bfloat16.) Blocks add in different
orders: (input + attention) + MLP, or (MLP + attention) + input, or any other pairing of two to four terms; a constant of the whole may be
applied before or after. Every pairing is tried, and one must be equal at all blocks of a kind. Where the library may choose another order, the
sum is within 16 units in the last place of the sum of absolute terms, and the proof's sentence says so.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from workers.lm.architecture import Terms
from workers.lm.capture import prefill, reading
from workers.lm.model import LanguageModel
from workers.lm.proofs.figures import larger
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.rows import random_rows
from workers.lm.structure.recording import Args, Named, Passed, first_tensor, handles, input_of

NAME = "addends"
ULPS = 16
TOKENS = 40


def addends(lm: LanguageModel) -> Proof:
    """Runs the proof. Its figure is the largest error over the kinds of blocks, each in its best order, in units in the last place of the sum of
    absolute terms."""
    [row] = random_rows(lm, [TOKENS], seed=2)
    errors = replay_errors(lm, row)
    best = {kind: min(by_order, key=by_order.__getitem__) for kind, by_order in errors.items()}
    error = max(errors[kind][order] for kind, order in best.items())
    orders = "; ".join(dict.fromkeys(best.values()))
    shape = f"{lm.layout.n_layers} layers x {len(row)} tokens in {str(lm.dtype).removeprefix('torch.')}, as {orders}"
    if error == 0:
        return Proof(NAME, "passed", 0, "ulp", f"Input and addends give each block's output bit for bit ({shape}).")
    if error <= ULPS:
        sentence = (
            f"Input and addends give each block's output to {error:.2g} units in the last place, not bit for bit ({shape})."
        )
        return Proof(NAME, "limited", error, "ulp", sentence)
    sentence = (
        f"Input and addends differ from the block's output by {error:,.0f} units in the last place, at most {ULPS} allowed ({shape}). "
        "Something else is added to or scales the stream, so contributions would be wrong. This architecture is not supported."
    )
    return Proof(NAME, "refused", error, "ulp", sentence)


def replay_errors(lm: LanguageModel, row: list[int]) -> dict[str, dict[str, float]]:
    """For each kind of block and each order of its sum, the largest error over its layers and all tokens, in ulp; 0 means that every bit is
    equal."""
    worst: dict[str, dict[str, float]] = {}
    given: list[Tensor] = []
    made: dict[tuple[int, int], Tensor] = {}
    hooks = []
    for layer, terms in enumerate(lm.layout.terms):
        block = lm.layout.sites[layer]["residual"]
        hooks.append(block.register_forward_pre_hook(_keeping_input(given), with_kwargs=True))
        hooks += [module.register_forward_hook(_keeping(made, (layer, place))) for place, module in enumerate(terms.modules)]

    def replay(layer: int, _component: str, out_BTD: Tensor) -> None:
        terms = lm.layout.terms[layer]
        addends = [made.pop((layer, place)).view_as(given[0]) for place in range(len(terms.modules))]
        by_order = worst.setdefault(terms.kind, {})
        for order, error in _errors(terms, given[0], addends, out_BTD, lm.dtype):
            by_order[order] = larger(by_order.get(order, 0.0), error)

    with handles(hooks), reading(lm, {"residual": replay}):
        prefill(lm, row)
    return worst


def _errors(
    terms: Terms, x_BTD: Tensor, addends: Sequence[Tensor], out_BTD: Tensor, dtype: torch.dtype
) -> Iterator[tuple[str, float]]:
    """Yields each way to add up the terms, as text, with its error."""
    scales = (terms.kept, *terms.scales)
    values = [x_BTD, *addends]
    absolute = sum(
        (abs(scale) * value.double().abs() for scale, value in zip(scales, values, strict=True)), torch.zeros(()).double()
    )
    unit = absolute.clamp_min(torch.finfo(dtype).tiny) * torch.finfo(dtype).eps
    for order, sum_BTD in ways(scales, values, ("input", *terms.names)):
        if torch.equal(sum_BTD, out_BTD):
            yield order, 0.0
        else:
            yield order, float(((sum_BTD.double() - out_BTD.double()).abs() / unit).max())


def ways(scales: Sequence[float], values: Sequence[Tensor], names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Every pairing of the scaled terms; where the input is scaled, also every pairing of unscaled terms with the constant applied at the
    end."""
    yield from _pairings(list(_scaled(scales, values, names)))
    whole = scales[0]
    if whole != 1:
        inner = [1.0 if scale == whole else scale / whole for scale in scales]
        for order, sum_BTD in _pairings(list(_scaled(inner, values, names))):
            yield f"{whole:.6g} ({order})", sum_BTD * whole


def _scaled(scales: Sequence[float], values: Sequence[Tensor], names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yields each term times its scale, with its text."""
    for scale, value, name in zip(scales, values, names, strict=True):
        yield (name, value) if scale == 1 else (f"{scale:.6g} {name}", value * scale)


def _pairings(terms: list[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Adds the terms two by two, in every way that can give other bits."""
    if len(terms) == 1:
        yield terms[0]
        return
    first, rest = terms[0], terms[1:]
    for mask in range(2 ** len(rest) - 1):
        left = [first, *(term for place, term in enumerate(rest) if mask >> place & 1)]
        right = [term for place, term in enumerate(rest) if not mask >> place & 1]
        for name, value in _pairings(left):
            for other, added in _pairings(right):
                yield f"{_grouped(name)} + {_grouped(other)}", value + added


def _grouped(name: str) -> str:
    return f"({name})" if " + " in name else name


def _keeping(made: dict[tuple[int, int], Tensor], place: tuple[int, int]) -> Callable[..., None]:
    """A forward hook that stores a copy of the module's output at `place`, its layer and its place among the layer's modules."""

    def hook(_module: nn.Module, _inputs: Args, output: Passed) -> None:
        tensor = first_tensor(output)
        assert tensor is not None
        made[place] = tensor.clone()

    return hook


def _keeping_input(given: list[Tensor]) -> Callable[..., None]:
    """A forward pre-hook that stores a copy of the block's input, in place of the previous block's."""

    def hook(_module: nn.Module, args: Args, kwargs: Named) -> None:
        given[:] = [input_of(args, kwargs).clone()]

    return hook
