"""`python -m tests.gpu.card --minutes 9 --out FOLDER`: run the card and write card.md and card.json; exit code 1 when a part failed."""

# ruff: noqa: T201 - it prints
import argparse
import os
import signal
import sys
import time
from pathlib import Path

from tests.gpu.card.parts import PARTS
from tests.gpu.card.record import Setup
from tests.gpu.card.report import Card
from tests.gpu.card.runner import Outcome, run_parts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.card", description="Test and time the model side on one device.")
    parser.add_argument("--minutes", type=float, default=9, help="the whole run's budget (default 9)")
    parser.add_argument("--out", type=Path, default=Path("card"), help="folder for card.md and card.json (default ./card)")
    parser.add_argument("--device", default="cuda:0", help="torch's name of the device (default cuda:0)")
    parser.add_argument("--tiny", action="store_true", help="small sizes: every part ends within seconds, on a CPU too")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], metavar="PART", help="run these parts alone")
    chosen = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a part that is running is ended too
    setup = Setup(chosen.device, chosen.tiny)
    parts = [part for part in PARTS if not chosen.only or part.name in chosen.only]
    chosen.out.mkdir(parents=True, exist_ok=True)
    card = Card(chosen.out, setup, chosen.minutes, time.strftime("%Y-%m-%d"))

    def written(outcomes: list[Outcome]) -> None:
        last = outcomes[-1]
        print(f"{last.part.name}: {last.state} in {last.seconds:.1f} s {last.reason}".rstrip(), flush=True)
        card.write(outcomes, parts)

    outcomes = run_parts(parts, setup, chosen.minutes, on_outcome=written)
    print(f"{card.first_line(outcomes, parts)}: {chosen.out / 'card.md'}")
    return int(any(outcome.state == "failed" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
