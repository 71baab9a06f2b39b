"""Turns a judge model's replies into a score. Pure functions; every reply gives a number or the reason for a missing score.

    score = sum(p n) / sum(p)   over the tokens that are values of the scale; no score when sum(p) < 0.25

Source: docs/science.md, 4.7; the expectation uses information that sampling one token would discard.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from terms.documents.judge import RawReply, RawScore
from terms.values import Json
from workers.judges.base import JudgeItem, Score
from workers.judges.prompts import LONGEST, Kind

LEAST_MASS = 0.25
OFF_TOPIC = 50.0
"""An answer with a relevance below this is off topic, and its coherence is limited to this."""
MOST_SHOWN = 200
"""The most characters of a reply's words that are stored."""


@dataclass(frozen=True)
class Parsed:
    """A parsed reply. `score` is None exactly when there is a `failure`. `top` are the reply's likeliest first tokens with their
    log-probabilities."""

    score: float | None
    mass: float
    top: dict[str, float]
    words: str = ""
    failure: str | None = None

    def raw(self) -> RawReply:
        """The part of the reply that is stored with the answer."""
        kept: RawReply = {"score": self.score, "mass": round(self.mass, 4), "top": self.top, "reply": self.words}
        return kept if self.failure is None else {**kept, "failure": self.failure}


def expectation(probabilities: Mapping[str, float], values: Mapping[str, float]) -> tuple[float | None, float]:
    """The mean value under the probabilities of the words that have a value, and the total probability of those words."""
    known = [(p, values[word]) for word, p in probabilities.items() if word in values]
    mass = math.fsum(p for p, _ in known)
    if mass < LEAST_MASS:
        return None, mass
    return round(math.fsum(p * value for p, value in known) / mass, 4), mass


def parse(body: Json, values: Mapping[str, float]) -> Parsed:
    """The score in a chat completion with logprobs. Tokens count with and without a space around them."""
    choice = _at(body, "choices", 0)
    message = (choice.get("message") or {}) if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return Parsed(None, 0.0, {}, failure="no_choices")
    words = str(message.get("content") or "")[:MOST_SHOWN]
    top = _top_of(_at(choice, "logprobs", "content", 0, "top_logprobs"))
    if not top:
        return Parsed(None, 0.0, {}, words, "no_logprobs")
    if not all(math.isfinite(logprob) and logprob <= 0.01 for logprob in top.values()):
        return Parsed(None, 0.0, {}, words, "bad_logprobs")
    probabilities: dict[str, float] = {}
    for token, logprob in top.items():
        probabilities[token.strip()] = probabilities.get(token.strip(), 0.0) + math.exp(min(0.0, logprob))
    score, mass = expectation(probabilities, values)
    kept = {token: round(logprob, 4) for token, logprob in top.items()}
    return Parsed(score, mass, kept, words, None if score is not None else "low_mass")


def _at(value: Json, *path: str | int) -> Json:
    """The value at a path of keys and places, or None if there is none."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return value


def _top_of(alternatives: Json) -> dict[str, float]:
    """The first token's alternatives with their log-probabilities; tokens that a server floors at -9999 or -inf are left out. {} when
    malformed."""
    if not isinstance(alternatives, list):
        return {}
    try:
        top = {str(alternative["token"])[:50]: float(alternative["logprob"]) for alternative in alternatives[:50]}
    except (KeyError, TypeError, ValueError, OverflowError):
        return {}
    return {token: logprob for token, logprob in top.items() if not logprob < -1000}


def combined(item: JudgeItem, said: Mapping[Kind, Parsed]) -> Score:
    """Combines the parsed replies into one score with its evidence. An empty text has coherence 0 and relevance 0 without a request; an unknown
    relevance caps nothing."""
    raw: RawScore = {}
    for kind, parsed in said.items():
        raw[kind] = parsed.raw()
    failures: dict[str, str] = {kind: parsed.failure for kind, parsed in said.items() if parsed.failure is not None}
    if failures:
        raw["failures"] = failures
    if len(item.text) > LONGEST:
        raw["cut_at"] = LONGEST
    trait = said["trait"].score
    if not item.text.strip():
        return Score(trait, 0.0, 0.0, raw)
    coherence = said["coherence"].score
    relevance = said["relevance"].score if "relevance" in said else None
    if coherence is not None and relevance is not None and relevance < OFF_TOPIC:
        raw["coherence_before_cap"] = coherence
        coherence = min(coherence, OFF_TOPIC)
    return Score(trait, coherence, relevance, raw)
