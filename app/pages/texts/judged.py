"""Describes the judge's scores of an answer and how certain they are. Pure."""

import math
from collections.abc import Mapping

from app.pages.wording import number, percent
from terms.documents.judge import RawReply, RawScore
from terms.documents.runs import ShownLine
from terms.judging import LETTERS, NUMBERS

Line = ShownLine
WIDEST = 50.0
"""The largest standard deviation of scores from 0 to 100."""


def unsure(line: Line) -> float:
    """Returns the judge's uncertainty from 0 (certain) to 1, by its own probabilities: 1 for a failed score, 0 for a search for phrases."""
    raw = line.get("raw") or RawScore()
    score = line.get("trait")
    if "phrase" in raw:
        return 0.0
    if score is None or "trait" in (raw.get("failures") or {}):
        return 1.0
    p, trait = raw.get("p"), raw.get("trait")
    if isinstance(p, list) and p:
        return 1.0 - float(max(p))
    top = trait.get("top") if isinstance(trait, Mapping) else None
    return 0.0 if not top else min(1.0, _spread(top, score) / WIDEST)


def _spread(top: Mapping[str, float], score: float) -> float:
    """Returns the standard deviation over the values that the reply's first token could have been.

    The line does not name the judge's scale, and `I` may begin a word: the scale is the one with the mean nearest to the score.
    """
    candidates = [moments for scale in (NUMBERS, LETTERS) if (moments := _moments(top, scale)) is not None]
    return min(candidates, key=lambda moments: abs(moments[0] - score))[1] if candidates else WIDEST


def _moments(top: Mapping[str, float], scale: Mapping[str, float]) -> tuple[float, float] | None:
    """Returns the mean and standard deviation of the tokens' values on the scale; None if no token has one."""
    weights = [(math.exp(min(0.0, logprob)), scale[token.strip()]) for token, logprob in top.items() if token.strip() in scale]
    mass = math.fsum(p for p, _ in weights)
    if mass <= 0:
        return None
    mean = math.fsum(p * value for p, value in weights) / mass
    return mean, math.sqrt(math.fsum(p * (value - mean) ** 2 for p, value in weights) / mass)


def scores(line: Line) -> str:
    """Returns the scores in words: `trait 92, coherence 91`."""
    return ", ".join(f"{name} {_score(line.get(name))}" for name in ("trait", "coherence") if name in line)


def _score(value: float | None) -> str:
    return "not scored" if value is None else number(value)


def reply(line: Line) -> str:
    """Returns the evidence of the score of the trait (the phrase found, probabilities, or replies with their uncertainty), and why a score is
    missing."""
    raw = line.get("raw") or RawScore()
    evidence = _evidence(line, raw)
    failed = "; ".join(f"no score of {name}: {str(why).replace('_', ' ')}" for name, why in (raw.get("failures") or {}).items())
    return " ".join([*([f"Judge: {evidence}."] if evidence else []), *([f"{failed[:1].upper()}{failed[1:]}."] if failed else [])])


def _evidence(line: Line, raw: RawScore) -> str:
    if "phrase" in raw:  # the other evidence is of the judge of coherence
        return f"found {_quoted(raw['phrase'])}" if raw["phrase"] else "found no phrase"
    shares = raw.get("p")
    if isinstance(shares, list) and len(shares) == 3:
        names = ("shows the trait", "does not", "neither")
        return ", ".join(f"{name} {percent(p)}" for name, p in zip(names, shares, strict=True))
    replies = {"trait": raw.get("trait"), "coherence": raw.get("coherence"), "relevance": raw.get("relevance")}
    said = [
        f"{name} {_quoted(text)}"
        for name, replied in replies.items()
        if isinstance(replied, Mapping) and (text := _said(replied))
    ]
    return ", ".join([*said, f"unsure {percent(unsure(line))}"]) if said else ""


def _said(replied: RawReply) -> str:
    """Returns the reply; for a local judge, which is read only as probabilities, its likeliest word."""
    top = replied.get("top") or {}
    return replied.get("reply") or max(top, key=lambda token: top[token], default="").strip()


def _quoted(text: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"
