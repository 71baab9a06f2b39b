"""`python -m tools.training COMMAND`: make the shipped models, traits and prompts again, measure them, check them.

make     train all four models (or those named), measure them, write cards, traits and prompts
traits   write traits and prompts only
report   measure models that are there and write their cards
cards    write the cards again, without measuring
check    compare the weights' hashes with the cards; exit status 1 when one differs
"""

import argparse
import json
import sys
from pathlib import Path

from shipped import MODEL_NAMES, MODELS, PROMPTS, TRAITS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.training", description="The shipped models and traits.")
    parser.add_argument("command", choices=("make", "traits", "report", "cards", "check"))
    parser.add_argument("names", nargs="*", help=f"models, of {', '.join(MODEL_NAMES)}; all when none is named")
    parser.add_argument("--out", type=Path, default=MODELS, help="folder that holds the model folders")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.names) - set(MODEL_NAMES))
    if unknown:
        parser.error(f"no model is called {', '.join(unknown)}; there are {', '.join(MODEL_NAMES)}")
    names = chosen.names or list(MODEL_NAMES)
    if chosen.command == "check":
        return check(chosen.out, names)
    if chosen.command in ("make", "traits"):
        write_data()
    if chosen.command == "make":
        train(chosen.out, names)
    if chosen.command in ("make", "report"):
        report(chosen.out, names)
    if chosen.command in ("make", "report", "cards"):
        write_cards(chosen.out, names)
    return check(chosen.out, names) if chosen.command == "make" else 0


def write_data() -> None:
    """Write traits and prompts."""
    from tools.training.prompts import write_prompts
    from tools.training.traits import write_traits

    write_traits(TRAITS)
    write_prompts(PROMPTS)


def train(out: Path, names: list[str]) -> None:
    """Train the common network once and each named variant from it, on one thread: sums of another order are other weights."""
    import torch

    from tools.training.folder import save
    from tools.training.recipe import VARIANTS, train_common, train_variant
    from tools.training.tokenizer import build_tokenizer

    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    common = train_common(tokenizer, say=tell)
    for name in names:
        tell(name)
        save(train_variant(common, tokenizer, VARIANTS[name], say=tell), tokenizer, out / name)


def report(out: Path, names: list[str]) -> None:
    """Measure each model and write `report.json` beside its weights."""
    from tools.training.report import measure_model

    for name in names:
        tell(f"measuring {name}")
        (out / name / "report.json").write_text(json.dumps(measure_model(out / name), indent=1) + "\n")


def write_cards(out: Path, names: list[str]) -> None:
    """Write each model's card from its report."""
    from tools.training.card import card

    for name in names:
        found = json.loads((out / name / "report.json").read_text())
        (out / name / "README.md").write_text(card(name, found))


def check(out: Path, names: list[str]) -> int:
    """1 when the weights of a model are not those that its report measured, else 0."""
    from tools.training.folder import weights_hash

    wrong = 0
    for name in names:
        stated = json.loads((out / name / "report.json").read_text())["weights_sha256"]
        found = weights_hash(out / name)
        tell(f"{name}: {'as measured' if found == stated else f'weights are {found}, the card measured {stated}'}")
        wrong += found != stated
    return int(wrong > 0)


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
