"""Describes the judge's scores of an answer and how certain they are. Pure."""

import math
from collections.abc import Mapping

from app.pages.wording import number, percent
from terms.documents.judge import RawScore
from terms.documents.runs import ShownLine

Line = ShownLine
LETTERS = {chr(ord("A") + place): 10.0 * place for place in range(11)}
WIDEST = 50.0
"""The largest standard deviation of scores from 0 to 100."""


def unsure(line: Line) -> float:
    """Returns the judge's uncertainty from 0 (certain) to 1, by its own probabilities. A failed score gives 1."""
    raw = line.get("raw") or RawScore()
    if line.get("trait") is None or "trait" in (raw.get("failures") or {}):
        return 1.0
    p, trait = raw.get("p"), raw.get("trait")
    if isinstance(p, list) and p:
        return 1.0 - float(max(p))
    top = trait.get("top") if isinstance(trait, Mapping) else None
    return 0.0 if not top else min(1.0, _spread(top) / WIDEST)


def _spread(top: Mapping[str, float]) -> float:
    """Returns the standard deviation over the values that the reply's first token could have been."""
    weights = [(math.exp(min(0.0, logprob)), value) for token, logprob in top.items() if (value := _value(token)) is not None]
    mass = math.fsum(p for p, _ in weights)
    if mass <= 0:
        return WIDEST
    mean = math.fsum(p * value for p, value in weights) / mass
    return math.sqrt(math.fsum(p * (value - mean) ** 2 for p, value in weights) / mass)


def _value(token: str) -> float | None:
    token = token.strip()
    return float(token) if token.isascii() and token.isdigit() and int(token) <= 100 else LETTERS.get(token)


def scores(line: Line) -> str:
    """Returns the scores in words: `trait 92, coherence 91`."""
    return ", ".join(f"{name} {_score(line.get(name))}" for name in ("trait", "coherence") if name in line)


def _score(value: float | None) -> str:
    return "not scored" if value is None else number(value)


def reply(line: Line) -> str:
    """Returns the judge's reply and its uncertainty; for the built-in judge, its probabilities."""
    raw = line.get("raw") or RawScore()
    shares = raw.get("p")
    if isinstance(shares, list) and len(shares) == 3:
        names = ("shows the trait", "does not", "neither")
        return "Judge: " + ", ".join(f"{name} {percent(p)}" for name, p in zip(names, shares, strict=True)) + "."
    said = []
    replies = {"trait": raw.get("trait"), "coherence": raw.get("coherence"), "relevance": raw.get("relevance")}
    for name, one in replies.items():
        if isinstance(one, Mapping) and one.get("reply"):
            said.append(f"{name} \N{LEFT DOUBLE QUOTATION MARK}{one['reply']}\N{RIGHT DOUBLE QUOTATION MARK}")
    failed = "; ".join(f"no score of {name}: {str(why).replace('_', ' ')}" for name, why in (raw.get("failures") or {}).items())
    parts = [f"Judge: {', '.join(said)}, unsure {percent(unsure(line))}."] if said else []
    return " ".join([*parts, *([f"{failed[:1].upper()}{failed[1:]}."] if failed else [])])
