"""Names of extraction methods: `base[_suffix]`, with parameters (docs/science.md, 3.4). What they compute is `workers.science.directions`.

    probe   probe_cleaned   mean_diff_top1   mean_diff_preclean   gradient (steps=500)   random (seed=2)   shuffled (of=probe, seed=1)

Suffixes: `_cleaned` and `_topN` zero dims of the finished vector, `_preclean` and `_pretopN` the same dims of the activations before the
fit. `_randomdimsN` and `_largestN` are the controls of the cleaning ablation: N random other dims, and the N of the largest weight outside
the massive list. `refit=k` fits on the k-th cluster resample of the examples.

A method's `key` is its name in files and tables: the name, then the parameters that differ from their defaults, as in
`random__seed2` or `shuffled__of-probe_cleaned__seed1`. Keys are safe in paths and read back by `parse_method`.
"""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from terms.values import Json

Value = int | float | str
RANKED_DIMS = 64
"""Number of dims per layer that a calibration ranks by ratio_to_median, and so the most that `_topN` and `_pretopN` can zero."""


class UnknownMethod(ValueError):
    """An unknown method name or parameter; the message lists the known ones."""


@dataclass(frozen=True)
class Parameter:
    """A parameter: a number from `low` to `high` (an int if the default is an int), or the name of another method."""

    default: Value
    low: float = -math.inf
    high: float = math.inf

    def accept(self, name: str, value: Json) -> Value:
        """Returns the value as its type. Raises UnknownMethod."""
        if isinstance(self.default, str):
            if not isinstance(value, str):
                raise UnknownMethod(f"{name} must be the name of a method.")
            if value.startswith("shuffled"):  # before it is parsed: a name can hold any number of names
                raise UnknownMethod(NOT_SHUFFLED)
            return parse_method(value).key
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnknownMethod(f"{name} must be a number.")
        if not abs(value) <= sys.float_info.max:  # NaN fails this, too
            raise UnknownMethod(f"{name} must be a finite number.")
        if isinstance(self.default, int) and value != int(value):
            raise UnknownMethod(f"{name} must be a whole number.")
        if not self.low <= value <= self.high:
            raise UnknownMethod(f"{name} is {value}; it must be from {self.low:g} to {self.high:g}.")
        return int(value) if isinstance(self.default, int) else float(value)


NOT_SHUFFLED = "shuffled needs a method that is fitted to labelled rows: `of` cannot be random, shuffled or lm_loss."
_SEED = Parameter(0, 0, 2**31 - 1)
_FITTED = {"refit": Parameter(0, 0, 1000)}
BASES: Mapping[str, Mapping[str, Parameter]] = {
    "mean_diff": _FITTED,
    "mean_diff_rownorm": _FITTED,
    "probe": {"c": Parameter(1.0, 1e-6, 1e6)} | _FITTED,
    "gradient": {"steps": Parameter(1000, 1, 100_000), "seed": _SEED} | _FITTED,
    "lm_loss": {"steps": Parameter(60, 1, 5000), "seed": _SEED},
    "pca": {"seed": _SEED} | _FITTED,
    "lda": _FITTED,
    "rfm": {"iterations": Parameter(3, 1, 20), "seed": _SEED} | _FITTED,
    "random": {"seed": _SEED},
    "shuffled": {"of": Parameter("mean_diff"), "seed": _SEED},
}
"""Every base method and its parameters."""
CONTROLS = ("random", "shuffled")
"""Bases that others are compared with, and that cannot lead."""
NOT_OF_ROWS = ("random", "lm_loss")
"""Bases with a vector that is not computed from captured rows: drawn at random, or trained through the model."""

_NAME = re.compile(
    rf"({'|'.join(sorted(BASES, key=len, reverse=True))})(?:_(cleaned|preclean|(top|pretop|randomdims|largest)([1-9]\d{{0,4}})))?"
)


@dataclass(frozen=True)
class Method:
    """A parsed method: base, suffix and every parameter of the base.

    `suffix` is "", "cleaned", "preclean", or with `top` as its N "top", "pretop", "randomdims" or "largest".
    """

    base: str
    suffix: str = ""
    top: int = 0
    parameters: Mapping[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Returns `base[_suffix]`, without parameters."""
        suffix = f"{self.suffix}{self.top or ''}"
        return f"{self.base}_{suffix}" if suffix else self.base

    @property
    def key(self) -> str:
        """Returns the name and the parameters that differ from their defaults, safe in a path.

        A shuffled method's key always ends in its own seed if the method that it shuffles has parameters in its key.
        """
        changed = [
            f"__{name}-{value}" if isinstance(value, str) else f"__{name}{value}"
            for name, value in self.parameters.items()
            if value != BASES[self.base][name].default or (name == "seed" and "__" in str(self.parameters.get("of")))
        ]
        return self.name + "".join(changed)

    @property
    def needs_calibration(self) -> bool:
        """Returns whether the method needs the massive dimensions or their order."""
        return bool(self.suffix) or (self.base == "shuffled" and parse_method(str(self.parameters["of"])).needs_calibration)


def method(name: str, parameters: Mapping[str, Json] | None = None) -> Method:
    """Returns the method with this name. Raises UnknownMethod for an unknown name, parameter or value, listing the known ones."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownMethod(
            f"{name!r} is not a method. The methods are {', '.join(BASES)}, most also with _cleaned, _preclean, _topN, "
            "_pretopN, _randomdimsN or _largestN."
        )
    base, suffix, counted, top = match.groups()
    known = BASES[base]
    given = dict(parameters or {})
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UnknownMethod(f"{base} has no parameter {', '.join(unknown)}. It has: {', '.join(known) or 'none'}.")
    if base in NOT_OF_ROWS and (counted or suffix or "").startswith("pre"):
        raise UnknownMethod(f"{base} is not fitted to activations, so nothing can be cleaned before the fit; use {base}_cleaned.")
    accepted = {key: parameter.accept(key, given.get(key, parameter.default)) for key, parameter in known.items()}
    if base == "shuffled":
        of = parse_method(str(accepted["of"]))
        if of.base in NOT_OF_ROWS:
            raise UnknownMethod(NOT_SHUFFLED)
        if suffix:
            inner = of.key if of.suffix else replace(of, suffix=counted or suffix, top=int(top or 0)).key
            raise UnknownMethod(f"Give the suffix to the method itself: shuffled with of={inner}.")
    return Method(base, counted or suffix or "", int(top or 0), accepted)


def parse_method(key: str) -> Method:
    """Returns the method with a name or key. Raises UnknownMethod."""
    name, *given = key.split("__")
    if name == "shuffled" and given and given[0].startswith("of-"):
        # the other method's key may contain parameters: they are between `of-` and this method's seed
        last = given[-1] if len(given) > 1 and given[-1].startswith("seed") else None
        of = "__".join(given if last is None else given[:-1]).removeprefix("of-")
        return method(name, {"of": of} if last is None else {"of": of, "seed": _number(last.removeprefix("seed"))})
    parameters: dict[str, Json] = {}
    for text in given:
        match = re.fullmatch(r"([a-z]+?)(-?\d.*)", text)
        if match is None:
            raise UnknownMethod(f"{key!r} is not the key of a method: {text!r} is not a parameter.")
        parameters[match[1]] = _number(match[2])
    return method(name, parameters)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnknownMethod(f"{text!r} is not a number.") from None


def plain_of(name: str) -> str:
    """Returns the key of the same method, with the same parameters, without `_cleaned`; empty for a method without it. A group's name keeps its
    place: `prompt[-1]/residual/probe_cleaned__c10.0` gives `prompt[-1]/residual/probe__c10.0`."""
    place, slash, key = name.rpartition("/")
    try:
        parsed = parse_method(key)
    except UnknownMethod:  # an imported vector's own label
        plain = key.removesuffix("_cleaned") if key.endswith("_cleaned") else ""
    else:
        plain = replace(parsed, suffix="").key if parsed.suffix == "cleaned" else ""
    return f"{place}{slash}{plain}" if plain else ""


def base_of(key: str) -> str | None:
    """Returns the base of a method; None for another label, such as an imported vector's own."""
    try:
        return parse_method(key).base
    except UnknownMethod:
        return None


def is_control(key: str) -> bool:
    """Returns whether the method is a control: a random vector, or one fitted on shuffled labels. A label that only begins like one is none."""
    return base_of(key) in CONTROLS


def is_ablation(key: str) -> bool:
    """Returns whether the method belongs only to the cleaning ablation (docs/science.md, 5), which shows it beside the method it cleans."""
    try:
        return parse_method(key).suffix in ("pretop", "randomdims", "largest")
    except UnknownMethod:
        return False
