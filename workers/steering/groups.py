"""What the stages of a steering hand on: each subject with its selection runs (`Searched`), and each group with its test runs (`Reported`).

A group is one method at one position and component. Data alone: nothing is run, read or written here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.steering.runs import Run
from workers.steering.subjects import Subject

WAYS = ("dose", "coherence", "divergence", "divergence_half", "divergence_1_nat", "coefficient")
"""The ways of comparing vectors besides each at its best dose."""


@dataclass(frozen=True, eq=False)
class Searched:
    """A subject and its selection runs in ascending dose. `best` is one of these runs; None if the subject never ran or has no clean dose."""

    subject: Subject
    curve: tuple[Run, ...]
    best: Run | None
    stopped: str | None = None

    @property
    def best_run(self) -> Run:
        """`best` of a subject that is known to have one."""
        assert self.best is not None
        return self.best


@dataclass(frozen=True, eq=False)
class Reported:
    """A group's chosen subject and its runs on test questions. `matched` holds a sentence for each match that could not be reached.

    `controls`: random and shuffled-label vectors at the best dose. `arms`: the clean and the massive part. `extra`: runs on further sets of
    questions, by set and dose. `refits`: the method refitted on resampled clusters, by the resample's number. `left_out`: why a control was not
    run, by its name.
    """

    searched: Searched
    best: Run
    matched: Mapping[str, Run | str | None]
    controls: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    arms: Mapping[str, Run] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, Run]] = field(default_factory=dict)
    refits: Mapping[int, Run] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def by_group(searched: Iterable[Searched]) -> dict[str, list[Searched]]:
    """Searched subjects by `subject.group`; the subjects of a group compete for one row of the report."""
    groups: dict[str, list[Searched]] = {}
    for member in searched:
        groups.setdefault(member.subject.group, []).append(member)
    return groups
