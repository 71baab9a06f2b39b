"""Random rows to steer, and their reference answers: each row alone, without cache, with hooks of its own, the whole sequence again for each
token."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tests.ml.tiny_models import BOS, SPECIAL, VOCAB
from workers.lm.capture import prefill, reading
from workers.lm.interventions import Push, site_width
from workers.lm.model import LanguageModel
from workers.lm.sampling import Sampling
from workers.lm.steered import SteeredRow


@contextmanager
def pushed(lm: LanguageModel, pushes: Iterable[Push], prompt_tokens: int) -> Iterator[None]:
    """Applies a row's pushes in forward passes over the whole row, alone, by the formulas of docs/science.md, 4.1, not by the engine."""
    handles = []
    # hooks run in this order: where one module is both an output and a contribution, the output is changed first
    for push in sorted(pushes, key=lambda push: push.operation != "ablate" and push.component.endswith("_contribution")):
        layers = range(lm.layout.n_layers) if push.operation == "ablate" else [push.layer]
        component = "residual" if push.operation == "ablate" else push.component
        for layer in layers:
            scale = lm.layout.scale(layer, component)
            handles.append(lm.layout.sites[layer][component].register_forward_hook(_hook(push, prompt_tokens, scale)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(push: Push, prompt_tokens: int, scale: float) -> Callable[..., Any]:
    vector = push.vector.float()
    clean = vector.clone()
    if not push.plain:
        clean[list(push.massive)] = 0
    unit = clean / clean.norm()
    counted = [d for d in range(len(vector)) if d not in push.massive]
    where = {"all": slice(None), "prompt": slice(prompt_tokens), "response": slice(prompt_tokens, None)}[push.scope]

    def hook(_module: object, _inputs: object, output: Any) -> Any:
        given = output[0] if isinstance(output, tuple) else output
        hidden = given.clone().view(1, -1, given.shape[-1])  # some modules have rows and tokens in one dimension
        h_TD = scale * hidden[0, where].float().cpu()
        if push.operation == "add":
            change = push.coefficient * vector
        elif push.operation == "ablate":
            change = -push.coefficient * (h_TD @ unit)[:, None] * unit
        else:
            change = push.coefficient * h_TD[:, counted].norm(dim=1, keepdim=True) * unit
        hidden[0, where] += (change / scale).to(hidden)
        hidden = hidden.view_as(given)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return hook


def naive(lm: LanguageModel, row: SteeredRow, new: int) -> list[int]:
    """The answer of the row alone, of at most `new` tokens."""
    ids = list(row.prompt_ids)
    uniforms = np.random.Generator(np.random.Philox(key=row.sampling.seed)) if row.sampling else None
    with torch.no_grad(), pushed(lm, row.pushes, len(ids)):
        for _ in range(new):
            logits = lm.model(input_ids=torch.tensor([ids], device=lm.device), use_cache=False).logits[0, -1].cpu()
            token = int(logits.argmax()) if uniforms is None else drawn(logits, row.sampling, uniforms.random())
            if token in lm.eos_ids:
                break
            ids.append(token)
    return ids[len(row.prompt_ids) :]


def drawn(logits: torch.Tensor, sampling: Sampling | None, uniform: float) -> int:
    """The token that `uniform` selects by inverse transform sampling from the nucleus."""
    assert sampling is not None
    scaled = logits.double().numpy() / sampling.temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    kept, mass = set(), 0.0
    for token in sorted(range(len(p)), key=lambda i: (-p[i], i)):
        if mass >= sampling.top_p:
            break
        kept.add(token)
        mass += p[token]
    total, run = sum(p[i] for i in sorted(kept)), 0.0
    for token in sorted(kept):
        run += p[token]
        if run > uniform * total:
            return token
    return max(kept)


def typical_norm(lm: LanguageModel, layer: int, component: str) -> float:
    """Mean norm of what the site holds for one fixed text."""
    seen: list[float] = []
    with reading(lm, {component: lambda _l, _c, h: seen.append(float(h.float().norm(dim=-1).mean()))}, [layer]):
        prefill(lm, [BOS, *range(len(SPECIAL), VOCAB, 20)])
    return seen[0]


def some_push(lm: LanguageModel, draw: random.Random, *, strong: bool = False) -> Push:
    """A random push: any operation, component, layer and scope, with a dose that changes the text without destroying it (or destroys it, if
    `strong`)."""
    component = draw.choice([c for c in lm.layout.components for _ in range(3 if c == "residual" else 1)])
    operation: Any = draw.choice(["add", "add", "ablate", "norm_match"])
    residual = component not in ("k_proj", "v_proj")  # only these have another width than the residual stream
    if operation == "ablate" and not residual:
        operation = "add"
    layer = draw.randrange(lm.layout.n_layers)
    width = site_width(lm, (layer, component))
    vector = torch.randn(width, generator=torch.Generator().manual_seed(draw.randrange(10**9)))
    vector /= vector.norm()
    norm = typical_norm(lm, layer, component)
    size = {"add": norm * draw.uniform(0.3, 2.0), "ablate": draw.choice([1.0, 1.0, 0.5]), "norm_match": draw.uniform(0.1, 1.5)}[
        operation
    ]
    sign = draw.choice([1, -1]) if operation != "ablate" else 1
    massive = tuple(draw.sample(range(width), draw.randrange(3))) if residual else ()
    scope: Any = draw.choice(["all", "all", "prompt", "response"])
    factor = 1e4 if strong and operation == "add" else 1
    return Push(layer, component, vector, sign * size * factor, operation, scope, massive, plain=draw.random() < 0.2)


def some_rows(lm: LanguageModel, seed: int, rows: int, *, longest: int = 16, sampled: bool = True) -> list[SteeredRow]:
    """Random rows, some unsteered, drawn from few prompts and few pushes, so that rows share them; prompts share beginnings."""
    draw = random.Random(seed)
    prompts: list[list[int]] = []
    for _ in range(max(1, rows // 3)):
        earlier = draw.choice(prompts) if prompts and draw.random() < 0.6 else [BOS]
        shared = earlier[: draw.randrange(1, len(earlier) + 1)]
        prompts.append([*shared, *(draw.randrange(len(SPECIAL), VOCAB) for _ in range(draw.randrange(longest)))][:longest])
    pushes = [some_push(lm, draw) for _ in range(max(2, rows // 2))]
    made = []
    for _ in range(rows):
        sampling = Sampling(draw.choice([0.5, 1.0]), draw.choice([1.0, 0.9]), draw.randrange(2**40))
        made.append(
            SteeredRow(
                draw.choice(prompts),
                tuple(draw.sample(pushes, draw.choice([0, 1, 1, 1, 2]))),
                sampling if sampled and draw.random() < 0.3 else None,
            )
        )
    return made


def texts(answers: Sequence[Any]) -> list[list[int]]:
    return [answer.ids for answer in answers]
