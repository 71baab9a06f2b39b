"""`python tools/same_results.py OLD NEW`: whether two commits make the same results on this machine.

Each commit is unpacked into a temporary folder, starts a service of its own there, and runs one small study over HTTP on shipped models.
Then every file of every job is compared: calibration.json, vectors, runs, summaries, answers, the report's tables. Names of jobs and
results, versions and times may differ; keys of sentences that a commit rewrites are named with --except.

Run it with the Python of an environment that both commits can run in.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

STUDY = {
    "traits": ["refusal"],
    "methods": ["mean_diff", "mean_diff_cleaned", "probe", "random"],
    "layers": [3],
    "budget": 3,
    "max_new_tokens": 24,
    "calibration_new_tokens": 16,
    "selection_limit": 12,
    "test_limit": 24,
    "resamples": 5,
    "controls": {"random": 1, "shuffled": 1, "prompt_only": False},
}
VARYING = frozenset({"version", "versions", "created_at", "started_at", "finished_at", "seconds"})
"""Keys of what two runs of one commit may differ in."""
NAMES = re.compile(r"\b(job|cal|ext|str|std|vec)_[0-9a-z]{26}\b")
DAY = re.compile(r"<time [^>]*>[^<]*</time>")
"""The day on which a report was written."""
TEXTS = (".json", ".jsonl", ".md", ".csv", ".html")


def main() -> int:
    """Runs both commits and prints a line for each file; 1 when a file differs."""
    parser = argparse.ArgumentParser(description="Compare the results of two commits.")
    parser.add_argument("commits", nargs=2, metavar="COMMIT")
    parser.add_argument("--model", action="append", help="a shipped model; may be repeated (all four when left out)")
    parser.add_argument("--except", dest="ignored", action="append", default=[], metavar="KEY", help="a key that may differ")
    chosen = parser.parse_args()
    models = chosen.model or ["demo-severe", "demo-mild", "demo-plain", "demo-signal"]
    with TemporaryDirectory(prefix="bnk-same-") as folder:
        results = [run(commit, models, Path(folder) / f"{place}") for place, commit in enumerate(chosen.commits)]
        return compared(*results, VARYING | set(chosen.ignored))


def run(commit: str, models: list[str], folder: Path) -> Path:
    """The folder of the results of a commit."""
    checkout, results = folder / "checkout", folder / "results"
    checkout.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", str(checkout)], input=archive, check=True)
    began = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    program = [
        sys.executable,
        str(Path(__file__).with_name("study_results.py")),
        str(folder / "home"),
        str(results),
        json.dumps(STUDY),
        *models,
    ]
    subprocess.run(program, cwd=checkout, env=env, check=True)
    say(f"{commit}: {sum(1 for _ in files(results))} files after {time.monotonic() - began:.0f} s")
    return results


def files(folder: Path) -> Iterator[str]:
    """The files of a folder, by their paths in it."""
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())


def compared(old: Path, new: Path, ignored: frozenset[str]) -> int:
    """Prints what differs; 1 when something does."""
    worst = 0
    for name in sorted({*files(old), *files(new)}):
        first, second = old / name, new / name
        if not (first.is_file() and second.is_file()):
            said = f"only in the {'new' if second.is_file() else 'old'} one"
        elif first.read_bytes() == second.read_bytes():
            say(f"{name}: the same bytes")
            continue
        else:
            said = difference(first, second, ignored)
        say(f"{name}: {said or 'the same but for names, versions and times'}")
        worst |= bool(said)
    return worst


def difference(first: Path, second: Path, ignored: frozenset[str]) -> str:
    """Where two files that are not equal differ beyond names and ignored keys; empty if they do not."""
    if first.suffix not in TEXTS:
        return f"other bytes ({first.stat().st_size:,} and {second.stat().st_size:,})"
    rows = [[plain(value, ignored) for value in values(path)] for path in (first, second)]
    if len(rows[0]) != len(rows[1]):
        return f"{len(rows[0])} lines and {len(rows[1])}"
    return "; ".join([place for a, b in zip(*rows, strict=True) for place in places(a, b, "")][:5])


def values(path: Path) -> list[Any]:
    """The JSON values of a file; its lines where it is not JSON. Names of jobs and results stand as their kind; the day of a
    report is left out."""
    text = DAY.sub("", NAMES.sub(r"\1", path.read_text()))
    if path.suffix == ".json":
        return [json.loads(text)]
    return [json.loads(line) if path.suffix == ".jsonl" else line for line in text.splitlines()]


def plain(value: Any, ignored: frozenset[str]) -> Any:
    """The value without the ignored keys."""
    if isinstance(value, dict):
        return {key: plain(inner, ignored) for key, inner in value.items() if key not in ignored}
    return [plain(inner, ignored) for inner in value] if isinstance(value, list) else value


def places(a: Any, b: Any, at: str) -> Iterator[str]:
    """The JSON pointers at which two values differ, with both values cut short."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from places(a.get(key, "no such key"), b.get(key, "no such key"), f"{at}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from places(one, other, f"{at}/{place}")
    elif type(a) is not type(b) or a != b:
        yield f"{at or '/'}: {str(a)[:60]!r} and {str(b)[:60]!r}"


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
