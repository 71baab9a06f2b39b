"""Prints a model for people: its facts, whether it may be used, and its proofs."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from binnacle.board import Model, Proof
from binnacle.cli.terminal import Listing, styled
from binnacle.words.sizes import bytes_in_words
from binnacle.words.visible import visible

STYLES = {"passed": "green", "limited": "yellow", "refused": "bold red", "unproven": "yellow"}
FACTS = {
    "architecture": "architecture",
    "layers": "layers",
    "hidden_size": "hidden size",
    "context_length": "context, tokens",
    "vocab_size": "vocabulary",
    "n_parameters": "parameters",
}


def model_report(model: Model) -> RenderableType:
    """Returns a report: facts with sizes in GiB and short hashes, then the proofs."""
    facts = model["facts"]
    rows: dict[str, str] = {"model": model["name"], "state": model["state"], "proofs": model["outcome"]}
    rows["source"] = model["source"] + (f" at {model['revision']}" if model["revision"] else "")
    rows |= {title: _number(facts[name]) for name, title in FACTS.items() if name in facts}
    if isinstance(size := facts.get("bytes"), int):
        rows["weights"] = f"{bytes_in_words(size)}, {facts.get('dtype')}"
    rows |= {
        f"{part} hash": str(facts[f"{part}_hash"])[:12]
        for part in ("weight", "tokenizer", "reading")
        if facts.get(f"{part}_hash")
    }
    if model["proved_with"]:
        rows["proved with"] = ", ".join(f"{name} {value}" for name, value in sorted(model["proved_with"].items()))
    for fit in model["fits"] or []:
        rows[f"on {fit['worker']}"] = f"{'fits' if fit['fits'] else 'does not fit'}: {fit['arithmetic']}"
    grid = Table.grid(padding=(0, 2))
    for title, value in rows.items():
        grid.add_row(visible(title), styled(value, STYLES.get(value, "") if title == "proofs" else ""))
    return Group(grid, "", _proofs(model["proofs"])) if model["proofs"] else grid


def _proofs(proofs: list[Proof]) -> Table:
    table = Listing("proof", "outcome", "figure", "what was found")
    for proof in proofs:
        figure = (
            bytes_in_words(proof["figure"]) if proof["unit"] == "bytes" else f"{proof['figure']:,.3g} {proof['unit']}".strip()
        )
        outcome = styled(proof["outcome"], STYLES[proof["outcome"]])
        table.add_row(proof["name"], outcome, figure, styled(proof["sentence"], ""))
    return table


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
