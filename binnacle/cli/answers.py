"""`binnacle generate`: answers to a prompt, unsteered and under vectors."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, out, print_json, print_warnings
from binnacle.cli.picking import pick
from binnacle.cli.terminal import styled
from binnacle.errors import BinnacleError
from binnacle.results import Answer, Vector
from binnacle.words.visible import visible


def generate(
    model: Annotated[str, typer.Argument(help="Name of a registered model (`binnacle models list`).")],
    prompt: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One or more prompts.")],
    vector: Annotated[
        list[str] | None, typer.Option(help="A vector's id (`binnacle vectors list`), or its beginning; may be repeated.")
    ] = None,
    dose: Annotated[
        list[float] | None, typer.Option(help="A dose above 0, like 0.5; may be repeated. 0.25, 0.5 and 1 when left out.")
    ] = None,
    coefficient: Annotated[
        list[float] | None, typer.Option(help="A coefficient instead of a dose, also below 0; may be repeated.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Length of the answers, in tokens.")] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt for every prompt.")] = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for the answers.")] = 120,
    as_json: Json = False,
) -> None:
    """Answer prompts, unsteered and under vectors, and print the answers."""
    if not vector and (dose or coefficient):
        raise BinnacleError("bad_option", "--dose and --coefficient need a vector: name it with --vector.")
    with connected() as client:
        vectors = [pick(client, typed, "vec") for typed in vector or ()]
        print_warnings({"warnings": control_warnings([client.vector(vector_id) for vector_id in vectors])})
        answers = client.generate(
            model,
            [{"prompt": text, "system_prompt": system} for text in prompt],
            vectors=vectors,
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
    """Returns a report: each prompt once, then its answers, each under its vector and dose."""
    parts: list[RenderableType] = []
    prompts: dict[tuple[str | None, str], list[Answer]] = {}
    for answer in answers:
        prompts.setdefault((answer["system_prompt"], answer["prompt"]), []).append(answer)
    for (_, prompt), of_prompt in prompts.items():
        parts.append(styled(prompt, "bold"))
        parts += [part for answer in of_prompt for part in _answer(answer)]
    return Group(*parts)


def _answer(answer: Answer) -> list[RenderableType]:
    """Returns the lines of one answer, below its prompt."""
    # rich's Padding would cut a long line
    line = Text.assemble(styled(f"  {steered_with(answer)}: ", "dim"), visible(answer["text"]))
    faults = (
        [] if answer["finite"] else [styled("  The model produced numbers that are not finite: the dose is too large.", "red")]
    )
    return [line, *faults]


def control_warnings(vectors: Sequence[Vector]) -> list[str]:
    """Returns a warning for each vector that is a control: random, or made from shuffled labels."""
    return [
        f"{vector['id']} is a control ({vector['method']}), not a vector of {vector['trait'] or 'a trait'}."
        for vector in vectors
        if vector["method"].partition("__")[0] in ("random", "shuffled")
    ]


def steered_with(answer: Answer) -> str:
    """Returns `unsteered`, or the vector with its dose and coefficient."""
    if answer["vector"] is None:
        return "unsteered"
    dose = "" if answer["dose"] is None else f", dose {answer['dose']:g}"
    coefficient = "" if answer["coefficient"] is None else f", coefficient {answer['coefficient']:.4g}"
    source = f" of {answer['source_model']}" if answer.get("source_model") else ""
    return f"{answer['vector']}{source}{dose}{coefficient}"
