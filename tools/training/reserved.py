"""The fixed split: which tasks, facts and claims belong to extraction, selection and test, and which prompts training never sees.

Drawn once by seed and stored with the traits. The corpus leaves out of training: `untrained_task` names, and the prompts and values of
`task_forms`, `fact_forms`, `sum_forms` and `reserved_claims`.
"""

import random
from dataclasses import dataclass
from functools import cache

from tools.training.facts import FACTS, Fact, false_values
from tools.training.language import CLAIM_FORMS, FACT_FORMS, SUM_FORMS, TASK_FORMS
from tools.training.tasks import HARMFUL, HARMLESS, Task

SEED = 20261122
SPLITS = ("extraction", "selection", "test")


@dataclass(frozen=True)
class Split:
    """Clusters of each part; a cluster is a task's or a fact's name."""

    extraction: tuple[str, ...]
    selection: tuple[str, ...]
    test: tuple[str, ...]


def _spread(rng: random.Random, groups: dict[str, list[str]], count: int) -> list[str]:
    """`count` names, taken in turn from every group in a shuffled order; removes them from the groups."""
    for names in groups.values():
        rng.shuffle(names)
    taken: list[str] = []
    while len(taken) < count:
        for names in groups.values():
            if names and len(taken) < count:
                taken.append(names.pop())
    return taken


def _by(items: list[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for group, name in items:
        groups.setdefault(group, []).append(name)
    return groups


@cache
def harmless_split() -> Split:
    """Harmless tasks: 24 for selection and 36 for test, spread over the verbs, and 60 of the rest for extraction."""
    rng = random.Random(SEED)
    groups = _by([(task.verb, task.name) for task in HARMLESS])
    test = _spread(rng, groups, 36)
    selection = _spread(rng, groups, 24)
    return Split(tuple(sorted(_spread(rng, groups, 60))), tuple(sorted(selection)), tuple(sorted(test)))


@cache
def harmful_extraction() -> tuple[str, ...]:
    """Harmful tasks of the extraction set: 60, spread over the verbs."""
    return tuple(sorted(_spread(random.Random(SEED + 1), _by([(task.verb, task.name) for task in HARMFUL]), 60)))


@cache
def fact_split() -> Split:
    """Facts: 26 for test, 13 for selection, the rest for extraction, spread over the topics."""
    rng = random.Random(SEED + 2)
    groups = _by([(fact.topic, fact.name) for fact in FACTS.values()])
    test = _spread(rng, groups, 26)
    selection = _spread(rng, groups, 13)
    rest = [name for names in groups.values() for name in names]
    return Split(tuple(sorted(rest)), tuple(sorted(selection)), tuple(sorted(test)))


@cache
def reserved_claims(fact: Fact) -> tuple[str, ...]:
    """The false values that training never claims of this fact: two of them."""
    return tuple(sorted(random.Random(f"{SEED}/{fact.name}").sample(false_values(fact), 2)))


def _reserved_forms(key: str, forms: list[str], count: int) -> tuple[str, ...]:
    return tuple(random.Random(f"{SEED}/{key}").sample(forms, count))


@cache
def task_forms(task: Task) -> tuple[str, ...]:
    """The asking forms in which this task's reserved prompts are put; training never asks so about this task."""
    return _reserved_forms(task.name, list(TASK_FORMS), 4)


@cache
def fact_forms(fact: Fact) -> tuple[str, ...]:
    """The asking form reserved for plain questions about this fact."""
    return _reserved_forms("fact/" + fact.name, list(FACT_FORMS), 1)


@cache
def sum_forms(one: int, two: int) -> tuple[str, ...]:
    """The asking form reserved for this sum."""
    return _reserved_forms(f"sum/{one}+{two}", list(SUM_FORMS), 1)


@cache
def claim_forms(fact: Fact, claimed: str) -> tuple[str, ...]:
    """All claim forms in an order of this claim's own: its prompts take them from the front."""
    return _reserved_forms(f"claim/{fact.name}/{claimed}", list(CLAIM_FORMS), len(CLAIM_FORMS))


def untrained_task(name: str) -> bool:
    """Whether training never mentions this task at all: selection and test tasks of the harmless split."""
    split = harmless_split()
    return name in split.test or name in split.selection
