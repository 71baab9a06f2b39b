"""Names what each run of a steering was made for: its roles in runs.jsonl, such as `search`, `test` and `matched_dose`."""

from collections.abc import Iterator

from workers.steering.runs import Run
from workers.steering.stages import Findings


def roles(findings: Findings) -> dict[str, list[str]]:
    """The roles of each run by its id, each role once, in the order in which the stages requested the run."""
    by_run: dict[str, list[str]] = {}
    for run, role in _pairs(findings):
        mine = by_run.setdefault(run.spec.id, [])
        if role not in mine:
            mine.append(role)
    for run in findings.runs:  # the runs left over were tried on the way to a coefficient or a dose
        by_run.setdefault(run.spec.id, ["reference" if run.spec.set == "reference" else "matching"])
    return by_run


def _pairs(findings: Findings) -> Iterator[tuple[Run, str]]:
    yield from ((run, "unsteered") for run in findings.bases.values())
    yield from ((other.base, "unsteered") for other in findings.off_target)
    if findings.prompt_only is not None:
        yield findings.prompt_only, "prompt_only"
    yield from ((run, "search") for candidate in findings.searched for run in candidate.curve)
    for group in findings.reported.values():
        yield group.best, "test"
        yield from ((run, f"matched_{name}") for name, run in group.matched.items() if isinstance(run, Run))
        yield from ((run, "control") for runs in group.controls.values() for run in runs)
        yield from ((run, "decomposition") for run in group.arms.values())
        yield from ((run, "extra") for at in group.extra.values() for run in at.values())
        yield from ((run, "refit") for run in group.refits.values())
    yield from ((run, "off_target") for other in findings.off_target for run in other.by_group.values())
