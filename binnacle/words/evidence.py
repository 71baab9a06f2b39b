"""Says why a steering allows no verdict, and what would do, and why a method has no gain; for its page, reports and the command line."""

from collections.abc import Mapping
from typing import Any

from binnacle.words.counting import counted
from binnacle.words.judging import NO_VERDICT, cannot_tell

CLUSTERS_NEEDED = 20
"""Least clusters of questions for an interval (docs/science.md, 4.5)."""


def lacking(summary: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns every reason why a steering's short summary allows no verdict, the judge's first, and what would do; None if there is none."""
    judge, few = cannot_tell(summary.get("judge") or {}), _few_clusters(summary)
    if judge is None and few is None:
        return None
    reasons = [judge] if judge else []
    if few:
        reasons.append(f"{'Too few questions, too' if judge else NO_VERDICT.capitalize()}: {few}, {CLUSTERS_NEEDED} needed.")
    needs = [
        *(["another judge"] if judge else []),
        *([f"scored held-out questions in {CLUSTERS_NEEDED} clusters"] if few else []),
    ]
    return " ".join(reasons), f"A verdict needs {' and '.join(needs)}."


def of_asked(scored: int | None, asked: int, noun: str) -> str:
    """Returns `22 questions`, or `19 of 22 questions scored` where some have no score."""
    return counted(asked, noun) if scored in (None, asked) else f"{scored} of {counted(asked, noun)} scored"


def _few_clusters(summary: Mapping[str, Any]) -> str | None:
    """Returns the number of clusters of held-out questions with a score of the best method; None if it is enough or unknown."""
    asked = ((summary.get("questions") or {}).get("test") or {}).get("clusters")
    if asked is None:
        return None
    best = next((method for method in summary.get("methods") or () if method.get("group") == summary.get("leader")), None)
    scored = ((best or {}).get("scored") or {}).get("clusters")
    enough = (asked if scored is None else scored) >= CLUSTERS_NEEDED
    return None if enough else of_asked(scored, asked, "question cluster")


def left_out(summary: Mapping[str, Any]) -> dict[str, str]:
    """Returns the methods of summary.json that were searched but have no gain, by their group, and why: the distinct reasons of the group's
    vectors, none of which has a dose to report."""
    reported = {group["group"] for group in summary["groups"]}
    searched = {subject["name"]: subject for subject in summary["subjects"]}
    reasons: dict[str, dict[str, None]] = {}
    for subject in searched.values():
        if subject["group"] not in reported:
            why = searched.get(subject["same_as"], subject)["stopped"]
            reasons.setdefault(subject["group"], {}).update({} if why is None else {why: None})
    return {group: "; ".join(distinct) or "no dose to report" for group, distinct in reasons.items()}
