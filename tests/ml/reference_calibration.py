"""A calibration computed naively, straight from the definitions (docs/science.md, 2): the oracle of the calibration tests.

It stores everything, loops over tokens and dims, sorts to find medians, and generates one token at a time without a cache. It shares no
code with the product: hidden states come from its own hooks, one prompt at a time, in float32; all that follows is float64 numpy or plain
Python. Slow on purpose.
"""

import math
import unicodedata
from functools import cache
from typing import Any

import numpy as np
import torch

ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def generate(model: Any, prompt: list[int], eos: set[int], max_new_tokens: int) -> list[int]:
    """The greedy answer, computed on the whole row again for each token; without its end token."""
    ids = list(prompt)
    for _ in range(max_new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()
        token = int(np.argmax(logits))
        if token in eos:
            break
        ids.append(token)
    return ids[len(prompt) :]


def hidden(model: Any, modules: dict[Any, torch.nn.Module], ids: list[int]) -> dict[Any, np.ndarray]:
    """The output of each of `modules` on one row, [T, D] float64 copies of the float32 values."""
    found: dict[Any, np.ndarray] = {}

    def keep(key: Any) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            found[key] = tensor[0].detach().numpy().astype(np.float64).copy()

        return hook

    handles = [module.register_forward_hook(keep(key)) for key, module in modules.items()]
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def low_median(values: Any) -> float:
    ordered = sorted(float(v) for v in np.ravel(values))
    return ordered[(len(ordered) - 1) // 2]


def linear_percentile(values: Any, q: float) -> float:
    ordered = sorted(float(v) for v in values)
    place = (len(ordered) - 1) * q / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def is_delimiter(text: str) -> bool:
    text = text.strip()
    return text == "" or all(c in ASCII_PUNCTUATION or unicodedata.category(c)[0] == "P" for c in text)


class Reference:
    """All hidden states of all prompts, and every number of calibration.json computed from them, unrounded.

    `modules[(component, layer)]` with components residual, attn, mlp. `rows` are (prompt ids, answer ids).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        modules: dict[tuple[str, int], torch.nn.Module],
        rows: list[tuple[list[int], list[int]]],
        n_layers: int,
    ) -> None:
        self.layers = sorted({layer for _, layer in modules})
        self.n_layers = n_layers
        self.rows = rows
        self.states = [hidden(model, modules, prompt + answer) for prompt, answer in rows]
        self.delimiters = []
        for prompt, answer in rows:
            ids = prompt + answer
            marks = [t for t in range(1, len(ids)) if is_delimiter(tokenizer.decode([ids[t]]))]
            self.delimiters.append(marks[0] if marks else -1)
        self.width = self.states[0]["residual", self.layers[0]].shape[1]
        for name in (
            "response",
            "ratios",
            "median_ratios",
            "peeled",
            "massive",
            "top5",
            "entry_maxima",
            "entry_medians",
            "max_to_median",
        ):
            setattr(self, name, cache(getattr(self, name)))

    def response(self, component: str, layer: int) -> np.ndarray:
        """All prompts' response tokens pooled, [N, D]."""
        return np.concatenate([s[component, layer][len(p) :] for s, (p, _) in zip(self.states, self.rows, strict=True)])

    def ratios(self, layer: int) -> np.ndarray:
        mean_abs = np.array([np.mean(np.abs(column)) for column in self.response("residual", layer).T])
        return mean_abs / low_median(mean_abs)

    def median_ratios(self) -> list[float]:
        table = [self.ratios(layer) for layer in self.layers]
        return [low_median([row[d] for row in table]) for d in range(self.width)]

    def top5(self, layer: int) -> list[int]:
        mean = np.abs(self.response("residual", layer).mean(axis=0))
        return sorted(range(self.width), key=lambda d: (-mean[d], d))[:5]

    def massive(self, rule: str) -> list[int]:
        needed = min(3, len(self.layers))
        if rule == "peeling" or rule.startswith("peel:"):
            share = 0.10 if rule == "peeling" else float(rule[5:])
            chosen = {d for d in range(self.width) if sum(d in self.peeled(layer, share)[0] for layer in self.layers) >= needed}
        elif rule == "ratio10-3layers" or rule.startswith("ratio:"):
            least = 10.0 if rule == "ratio10-3layers" else float(rule[6:])
            chosen = {d for d in range(self.width) if sum(self.ratios(layer)[d] >= least for layer in self.layers) >= needed}
        elif rule == "top5-3layers":
            chosen = {d for d in range(self.width) if sum(d in self.top5(layer) for layer in self.layers) >= needed}
        elif rule == "all":
            chosen = {d for layer in self.layers for d in self.top5(layer)}
        else:
            chosen = set()
            for state in self.states:
                for layer in self.layers:
                    size = np.abs(state["residual", layer])
                    middle = low_median(size)
                    for _, d in zip(*np.nonzero((size > 100) & (size > 1000 * middle)), strict=True):
                        chosen.add(int(d))
        medians = self.median_ratios()
        return sorted(chosen, key=lambda d: (-medians[d], d))

    def peeled(self, layer: int, share: float) -> tuple[list[int], dict[int, float]]:
        """The dims that peeling takes at a layer, in order, and how near each dim was to being taken (1 is the threshold)."""
        squares = {d: float(np.sum(column**2)) for d, column in enumerate(self.response("residual", layer).T)}
        ratios = self.ratios(layer)
        taken: list[int] = []
        near: dict[int, float] = {}
        while True:
            left = {d: square for d, square in squares.items() if d not in taken}
            largest = max(left, key=lambda d: (left[d], -d))
            strength = min(ratios[largest] / 10, left[largest] / math.fsum(left.values()) / share)
            if strength < 1:
                break
            near[largest] = strength
            taken.append(largest)
        for d, square in left.items():
            near[d] = min(ratios[d] / 10, square / math.fsum(left.values()) / share)
            if near[d] >= 1:  # it is smaller than the dim that stopped the peeling, and is not taken
                near[d] = strength
        return taken, near

    def by_layer(self, rule: str) -> dict[int, list[int]]:
        listed = self.massive(rule)
        if rule == "peeling" or rule.startswith("peel:"):
            return {layer: [d for d in listed if self.ratios(layer)[d] >= 10] for layer in self.layers}
        return dict.fromkeys(self.layers, listed)

    def margin(self, rule: str) -> dict[int, float]:
        share = float(rule[5:]) if rule.startswith("peel:") else 0.10
        needed = min(3, len(self.layers))
        tables = [self.peeled(layer, share)[1] for layer in self.layers]
        margins = {d: sorted((near[d] for near in tables), reverse=True)[needed - 1] for d in range(self.width)}
        listed = {*self.massive(rule), *(d for d, value in margins.items() if value >= 1)}
        others = sorted((d for d in margins if d not in listed), key=lambda d: (-margins[d], d))[:5]
        return {d: margins[d] for d in sorted({*listed, *others})}

    def norm_share(self, layer: int, dim: int) -> float:
        squares = self.response("residual", layer) ** 2
        return float(squares[:, dim].sum() / squares.sum())

    def emergence(self) -> dict[int, dict[str, Any]]:
        dim = self.severity()["dominant_dim"]
        ratios = {layer: self.ratios(layer)[dim] for layer in self.layers}
        high = [layer for layer in self.layers if 2 * ratios[layer] >= max(ratios.values())]
        after = [layer for layer in self.layers if layer > high[-1]]
        return {dim: {"first": high[0], "plateau": high, "falls": after[0] if after else None}}

    def alignment(self, layer: int) -> float:
        per_prompt = []
        for state, (prompt, _) in zip(self.states, self.rows, strict=True):
            h = state["residual", layer][: len(prompt)]
            mean = h.mean(axis=0)
            per_prompt.append(np.mean([x @ mean / (np.linalg.norm(x) * np.linalg.norm(mean)) for x in h]))
        return float(np.mean(per_prompt))

    def max_to_median(self, layer: int, dim: int) -> float:
        found = []
        for state in self.states:
            largest = np.abs(state["residual", layer]).max(axis=0)
            found.append(largest[dim] / low_median(largest))
        return float(np.mean(found))

    def max_to_entry(self, layer: int, dim: int) -> list[float]:
        pairs = zip(self.states, self.entry_medians(layer), strict=True)
        return [np.abs(state["residual", layer][:, dim]).max() / middle for state, middle in pairs]

    def entry_medians(self, layer: int) -> list[float]:
        """The median absolute value of each prompt over all its tokens and dims."""
        return [low_median(np.abs(state["residual", layer])) for state in self.states]

    def entry_maxima(self, layer: int) -> np.ndarray:
        """max_to_entry of every prompt and dim, [prompts, D]."""
        pairs = zip(self.states, self.entry_medians(layer), strict=True)
        return np.array([np.abs(state["residual", layer]).max(axis=0) / middle for state, middle in pairs])

    def above_10x(self, layer: int, dim: int) -> float:
        a = np.abs(self.response("residual", layer))
        b = low_median(a.mean(axis=0))
        return 100 * float(np.mean(a[:, dim] > 10 * b))

    def dim_at_layer(self, layer: int, dim: int) -> dict[str, float]:
        a = np.abs(self.response("residual", layer))
        b = low_median(a.mean(axis=0))
        column = a[:, dim]
        mean = column.mean()
        return {
            "ratio": mean / b,
            "cv": math.sqrt(float(np.mean((column - mean) ** 2))) / mean if mean else 0.0,
            "p5_ratio": linear_percentile(column, 5) / b,
            "pct_above_10x": self.above_10x(layer, dim),
        }

    def clean_norm(self, layer: int) -> float:
        h = self.response("residual", layer).copy()
        h[:, self.by_layer("peeling")[layer]] = 0
        return low_median([np.linalg.norm(x) for x in h])

    def place(self, layer: int, dim: int) -> dict[str, float]:
        largest, first, delimiter = 0.0, 0, 0
        for state, mark in zip(self.states, self.delimiters, strict=True):
            column = np.abs(state["residual", layer][:, dim])
            at = int(np.argmax(column))
            largest = max(largest, float(column[at]))
            first += at == 0
            delimiter += at != 0 and at == mark
        n = len(self.states)
        return {
            "largest": largest,
            "above_30x": sum(value > 30 for value in self.max_to_entry(layer, dim)) / n,
            "first_token": first / n,
            "first_delimiter": delimiter / n,
            "elsewhere": (n - first - delimiter) / n,
        }

    def located(self, layer: int) -> list[int]:
        table = self.entry_maxima(layer)
        return [d for d in range(self.width) if 10 * int((table[:, d] > 30).sum()) >= len(self.states)]

    def severity(self) -> dict[str, Any]:
        medians = self.median_ratios()
        dim = max(range(self.width), key=lambda d: (medians[d], -d))
        low, high = math.floor(self.n_layers / 4), math.ceil(3 * self.n_layers / 4) - 1
        middle = [layer for layer in self.layers if low <= layer <= high] or self.layers
        means = {layer: np.abs(self.response("residual", layer).mean(axis=0)) for layer in middle}
        squares = {layer: (self.response("residual", layer) ** 2).mean(axis=0) for layer in middle}
        ratio = low_median([self.ratios(layer)[dim] for layer in middle])
        above = low_median([self.above_10x(layer, dim) for layer in middle])
        if above >= 90:
            scope = "every_token"
        elif self.massive("peeling") or any(self.located(layer) for layer in self.layers):
            scope = "token_local"
        else:
            scope = "none"
        return {
            "dominant_dim": dim,
            "ratios": {
                "ratio_to_median": ratio,
                "ratio_to_mean": low_median([means[layer][dim] / means[layer].mean() for layer in middle]),
                "max_to_median": low_median([self.max_to_median(layer, dim) for layer in middle]),
                "max_to_entry_median": low_median([np.mean(self.max_to_entry(layer, dim)) for layer in middle]),
            },
            "share_of_squared_norm": low_median([squares[layer][dim] / squares[layer].sum() for layer in middle]),
            "mean_alignment": low_median([self.alignment(layer) for layer in middle]),
            "pct_above_10x": above,
            "layers": middle,
            "scope": scope,
            "verdict": "none" if ratio < 10 or not self.massive("peeling") else "mild" if ratio < 100 else "severe",
        }

    def aggregate(self, rule: str) -> dict[str, Any]:
        """Every field of `aggregate` under its name, unrounded, with integer keys (JSON would make them strings)."""
        means = {layer: self.response("residual", layer).mean(axis=0) for layer in self.layers}
        listed = self.massive(rule)
        tops = {layer: self.top5(layer) for layer in self.layers}
        location = {layer: sorted({*self.located(layer), *listed}) for layer in self.layers}
        return {
            "n_prompts": len(self.rows),
            "mean_alignment_by_layer": {layer: self.alignment(layer) for layer in self.layers},
            "top_dims_by_layer": tops,
            "ratio_order_by_layer": {
                layer: sorted(range(self.width), key=lambda d, layer=layer: (-self.ratios(layer)[d], d))[:64]
                for layer in self.layers
            },
            "dim_magnitude_by_layer": {
                d: [abs(means[layer][d]) / np.abs(means[layer]).mean() for layer in self.layers]
                for d in {d for dims in tops.values() for d in dims}
            },
            "layer_norms": {layer: self._norm("residual", layer) for layer in self.layers},
            "attn_norms": {layer: self._norm("attn", layer) for layer in self.layers},
            "mlp_norms": {layer: self._norm("mlp", layer) for layer in self.layers},
            "consecutive_cosine": {
                layer: means[layer] @ means[layer + 1] / np.linalg.norm(means[layer]) / np.linalg.norm(means[layer + 1])
                for layer in self.layers
                if layer + 1 in self.layers
            },
            "per_layer": {layer: {d: self.dim_at_layer(layer, d) for d in {*listed, *tops[layer]}} for layer in self.layers},
            "massive_dims": {"rule": rule, "dims": listed},
            "massive_by_layer": self.by_layer(rule),
            "norm_share": {layer: {d: self.norm_share(layer, d) for d in listed} for layer in self.layers},
            "emergence": self.emergence(),
            "margin": self.margin(rule),
            "clean_norms": {layer: self.clean_norm(layer) for layer in self.layers},
            "location": {layer: {d: self.place(layer, d) for d in dims} for layer, dims in location.items() if dims},
            "severity": self.severity(),
        }

    def _norm(self, component: str, layer: int) -> float:
        return float(np.mean([np.linalg.norm(x) for x in self.response(component, layer)]))
