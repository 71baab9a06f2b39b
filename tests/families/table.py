"""The table of `docs/families.md`, rendered from what `examine` found, which is kept beside the tests and compared with."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import transformers

from tests.families.checks import Examined

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"
FOUND = Path(__file__).parent / "found.jsonl"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
"""The part of the document that is written here."""


def read_table() -> dict[str, Examined]:
    """What was found for each family."""
    lines = FOUND.read_text(encoding="utf-8").splitlines() if FOUND.exists() else []
    return {found.family: found for found in (Examined(**json.loads(line)) for line in lines)}


def document() -> str:
    """docs/families.md with the table of the findings."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    return before + BEGIN + rendered(list(read_table().values())) + after


def rendered(found: Sequence[Examined]) -> str:
    """The table."""
    built = [one for one in found if one.verdict != "not built"]
    proven = [one for one in built if one.verdict == "proven"]
    engines = Counter(one.engine for one in proven)
    classes = {name for one in proven for name in one.layer_class.split(", ")}
    on = ", ".join(f"{number} on {engine}" for engine, number in engines.most_common())
    lines = [
        f"transformers {transformers.__version__}: {len(found)} families tried, {len(built)} built, {len(proven)} proven, with {len(classes)} "
        f"classes of layers; {on}.",
        "",
        "| family | class of layers | block output | addends | engine | verdict |",
        "|---|---|---|---|---|---|",
        *(_line(one) for one in proven),
        "",
        "### Not on slots",
        "| family | engine | what forbids slots |",
        "|---|---|---|",
        *(f"| {one.family} | {one.engine} | {_text(one.slots_residue)} |" for one in proven if one.engine != "slots"),
        "",
        "### Refused, and not built",
        "| family | | reason |",
        "|---|---|---|",
        *(f"| {one.family} | {one.verdict} | {_text(one.reason)} |" for one in found if one.verdict != "proven"),
    ]
    return "\n".join(lines) + "\n"


def _line(one: Examined) -> str:
    figures = " / ".join("-" if figure is None else f"{figure:.2g}" for figure in (one.addends_float32, one.addends_bfloat16))
    return f"| {one.family} | {one.layer_class} | {_text(one.structure)} | {figures} | {one.engine} | {one.verdict} |"


def _text(text: str) -> str:
    return text.replace("|", "\\|")
