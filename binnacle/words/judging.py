"""Describes how far a result's judge can be trusted: what it tells apart, how unsteered answers score, and what to do if it cannot tell.

Used by the report, the page, the dry run and the command line. `facts` is the `judge_facts` of a summary; results of earlier versions have
fewer of them.
"""

from collections.abc import Mapping
from typing import Any

from binnacle.words.counting import counted
from binnacle.words.rounding import decimals

REGISTER = (
    "curl --header @FILE ADDRESS/v1/judges --json "
    """'{"name": "house", "kind": "openai", "model": "MODEL", "url": "https://HOST/v1", "key_env": "VARIABLE"}'""",
    """curl --header @FILE ADDRESS/v1/judges --json '{"name": "second", "kind": "local", "model": "A REGISTERED CHAT MODEL"}'""",
)
"""Commands with which an administrator adds a judge at an endpoint, or a judge that is a model of this server.

The key's header is in a file, because every account on a machine can read command lines.
"""
REMEDY = (
    f"An administrator adds another judge: at an endpoint ({REGISTER[0]}) or a registered model ({REGISTER[1]}); FILE holds "
    "`Authorization: Bearer KEY`. Then name it in /judge, or score the answers of a finished steering again: "
    "POST /v1/steerings/{id}/rescore with its name in /judge; no steered text is generated again."
)
SHORT_REMEDY = (
    "An administrator adds another judge, at an endpoint or a registered model; docs/judges.md has the commands. Then name it in a new "
    "steering, or score these answers again with it (POST /v1/steerings/{id}/rescore); no steered text is generated again."
)
"""The remedy without commands, for a page that every user reads."""
NEEDED = 70.0
"""Percent of held-out responses that the interval must reach for a verdict (docs/science.md, 4.7)."""
NO_VERDICT = "not enough evidence"


def told_apart(facts: Mapping[str, Any]) -> str:
    """Returns `It classifies 83 % [74, 90] of held-out responses correctly (61 clusters; 50 % is chance).`"""
    accuracy, limits = facts.get("held_out_accuracy"), facts.get("held_out")
    if accuracy is None:
        return "Its accuracy on held-out responses was not measured."
    if limits is None:
        return f"It classifies {100 * accuracy:.0f} % of held-out responses correctly (50 % is chance; no interval was stored)."
    low = 100 * limits["low"]
    return (
        f"It classifies {100 * accuracy:.0f} % [{low:.{decimals(low, [NEEDED], 0)}f}, {100 * limits['high']:.0f}] of held-out "
        "responses correctly "
        f"({counted(limits['clusters'], 'cluster')}; 50 % is chance)."
    )


def spread_in_words(unsteered: Mapping[str, Any]) -> str:
    """Returns `Unsteered answers score 2 to 31, median 8.` for one set of `unsteered`; empty if the spread was not stored."""
    spread = unsteered.get("spread")
    if not spread:
        return ""
    return (
        f"Unsteered answers score {spread['min']:g} to {spread['max']:g}, median {spread['median']:g}, "
        f"80 % of them {spread['p10']:g} to {spread['p90']:g}."
    )


def judge_in_words(summary: Mapping[str, Any]) -> str:
    """Returns a description of a steering's judge in one or two sentences."""
    name = (summary.get("judge") or {}).get("name") or "the judge"
    said = f"Judge {name}: {told_apart(summary.get('judge_facts') or {})}"
    return f"{said} {spread_in_words(summary['unsteered']['test'])}".strip()


def cannot_tell(facts: Mapping[str, Any]) -> str | None:
    """Returns why this judge allows no verdict; None if it can tell the classes apart or that was not measured."""
    if facts.get("tells_apart") is not False:
        return None
    return f"{NO_VERDICT.capitalize()}: this judge cannot tell the classes apart. {told_apart(facts)}"
