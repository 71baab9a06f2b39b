"""`binnacle generate`: answers to a prompt, unsteered and under vectors."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, out, print_json
from binnacle.cli.picking import pick
from binnacle.cli.terminal import styled
from binnacle.results import Answer
from binnacle.words.visible import visible


def generate(
    model: Annotated[str, typer.Argument(help="Name of a registered model (`binnacle models list`).")],
    prompt: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One or more prompts.")],
    vector: Annotated[
        list[str] | None, typer.Option(help="A vector's id (`binnacle vectors list`), or its beginning; may be repeated.")
    ] = None,
    dose: Annotated[
        list[float] | None, typer.Option(help="A dose, like 0.5; may be repeated. 0.25, 0.5 and 1 when left out.")
    ] = None,
    coefficient: Annotated[list[float] | None, typer.Option(help="A coefficient instead of a dose; may be repeated.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Length of the answers, in tokens.")] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt for every prompt.")] = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for the answers.")] = 120,
    as_json: Json = False,
) -> None:
    """Answer prompts, unsteered and under vectors, and print the answers."""
    with connected() as client:
        answers = client.generate(
            model,
            [{"prompt": one, "system_prompt": system} for one in prompt],
            vectors=[pick(client, one) for one in vector or ()],
            doses=dose,
            coefficients=coefficient,
            max_new_tokens=max_new_tokens,
            wait=wait,
        )
    if as_json:
        print_json(answers)
    else:
        out.print(answers_report(answers))


def answers_report(answers: Sequence[Answer]) -> RenderableType:
    """Each prompt once, then its answers, each under what it was steered with."""
    parts: list[RenderableType] = []
    before: tuple[str | None, str] | None = None
    for one in answers:
        if (asked := (one["system_prompt"], one["prompt"])) != before:
            before = asked
            parts.append(styled(one["prompt"], "bold"))
        parts.append(Padding(Text.assemble(styled(f"{steered_with(one)}: ", "dim"), visible(one["text"])), (0, 0, 0, 2)))
        if not one["finite"]:
            parts.append(
                Padding(styled("The model produced numbers that are not finite: the dose is too large.", "red"), (0, 0, 0, 2))
            )
    return Group(*parts)


def steered_with(answer: Answer) -> str:
    """`unsteered`, or the vector with its dose and coefficient."""
    if answer["vector"] is None:
        return "unsteered"
    dose = "" if answer["dose"] is None else f", dose {answer['dose']:g}"
    coefficient = "" if answer["coefficient"] is None else f", coefficient {answer['coefficient']:.4g}"
    source = f" of {answer['source_model']}" if answer.get("source_model") else ""
    return f"{answer['vector']}{source}{dose}{coefficient}"
