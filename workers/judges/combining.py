"""From what a judge model said on trait, coherence and relevance to one Score."""

from collections.abc import Mapping
from typing import Any

from workers.judges.base import JudgeItem, Score
from workers.judges.prompts import LONGEST, Kind
from workers.judges.replies import Parsed

OFF_TOPIC = 50.0
"""Below this relevance an answer is off topic, and its coherence is at most this."""


def combined(item: JudgeItem, said: Mapping[Kind, Parsed]) -> Score:
    """The scores with all that they rest on. An empty text has coherence 0 and relevance 0 unasked; an unknown relevance caps nothing."""
    raw: dict[str, Any] = {kind: parsed.raw() for kind, parsed in said.items()}
    failures = {kind: parsed.failure for kind, parsed in said.items() if parsed.failure is not None}
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
