"""Prints what a dry run found: for people a few lines, for programs the whole answer."""

from collections.abc import Mapping
from typing import Any

from binnacle.cli.live import duration
from binnacle.cli.output import out, print_json
from binnacle.cli.speech import spoken

UNKNOWN = "not known yet: too few jobs of this kind and size have run on the model"


def print_plan(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints the answer to a dry run of a job or a study."""
    if as_json:
        print_json(plan)
        return
    for line in price_lines(plan):
        out.print(line)


def price_lines(plan: Mapping[str, Any]) -> list[str]:
    """Returns the size of the request, its device time, the jobs that it would wait for, and whether the quotas admit it."""
    seconds, admission = plan["estimated_seconds"], plan["admission"]
    first = list(plan.get("waits_for", ()))
    if plan.get("makes_extraction"):
        first.append("an extraction, which is made first at a cost of its own, as none fits")
    return [
        f"size         {plan['arithmetic']}",
        f"device time  {UNKNOWN if seconds is None else f'about {duration(seconds)}'}",
        *([f"waits for    {', '.join(first)}"] if first else []),
        f"quotas       {'they admit it now' if admission['would_pass'] else spoken(admission['detail'])}",
        "Nothing was submitted. --json shows the whole request.",
    ]
