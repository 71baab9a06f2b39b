"""Runs the stages of a steering in order: unsteered, search, choose, match, report, and then the reference protocol, off-target
effects and the prompt-only control.

Each stage requests all its runs from the evaluator at once, so that they share batches. Doses and layers are chosen on the selection questions
alone: test answers never influence a choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terms.documents.steering import ReferenceProtocol
from workers.job import JobContext, JobFault
from workers.science.search import UNSCORED
from workers.steering import offtarget, reference_protocol
from workers.steering.groups import Reported, Searched
from workers.steering.matching import Divergences, match_coherence, match_divergence
from workers.steering.offtarget import OffTarget
from workers.steering.questions import PROMPT_ONLY
from workers.steering.reference_protocol import raw_coefficient
from workers.steering.reporting import SAMPLED, Companions, Matched, report
from workers.steering.runs import Run, RunSpec
from workers.steering.searching import choose, leader_of, search
from workers.steering.setup import Setup
from workers.steering.vectors import Loaded


@dataclass(frozen=True, eq=False)
class Findings:
    """All results of a steering. `bases` are the unsteered runs by set, `targets` the matched divergences in nats.

    `runs` are all runs, in the order in which the stages requested them, but those of `off_target` last.
    """

    bases: Mapping[str, Run]
    searched: Sequence[Searched]
    leader: str
    reported: Mapping[str, Reported]
    targets: Mapping[str, float]
    reference: ReferenceProtocol | None
    off_target: Sequence[OffTarget]
    prompt_only: Run | None
    runs: Sequence[Run]


def steer(setup: Setup, loaded: Loaded, context: JobContext) -> Findings:
    """Runs all stages. Raises JobFault no_clean_dose; ModelFault no_effect; and the judge's errors."""
    bases = _unsteered(setup)
    searched = search(setup, loaded.competing, bases["selection"])
    chosen = choose(searched, bases["selection"], setup.scoring)
    leader = leader_of(chosen, bases["selection"], setup.scoring)
    if leader is None:
        check_scored(searched)
        raise JobFault(
            "no_clean_dose",
            "None of the vectors has a clean dose: over 99 % of each lies in massive dims. Clean them, or give raw coefficients "
            "(/coefficients).",
        )
    raw = raw_coefficient(searched, chosen, leader) if setup.how.operation == "add" else None
    matched = Matched(_coherence(setup, chosen, leader), _divergence(setup, chosen, leader, bases["selection"]), raw)
    companions = {group: Companions(loaded.shuffled.get(group, ()), loaded.refits.get(group, ())) for group in chosen}
    reported = report(setup, chosen, leader, matched, companions)
    reference = None
    if raw is not None and setup.spec.get("reference_protocol"):
        reference = reference_protocol.measure(setup, raw, bases["reference"])
    off_target = [offtarget.measure(setup, asked, reported, context) for asked in setup.spec.get("off_target", ())]
    prompt_only = _prompt_only(setup)
    runs = [*setup.evaluator.runs, *(run for other in off_target for run in other.runs)]
    return Findings(bases, searched, leader, reported, matched.divergence.targets, reference, off_target, prompt_only, runs)


def _unsteered(setup: Setup) -> dict[str, Run]:
    """The runs of every question set without intervention, by the name of the set."""
    setup.evaluator.begin("answering unsteered", sum(map(len, setup.sets.values())), share=0.05)
    runs = setup.evaluator.evaluate([RunSpec(questions, "unsteered") for questions in setup.sets.values()])
    return dict(zip(setup.sets, runs, strict=True))


def check_scored(searched: Sequence[Searched]) -> None:
    """Raises JobFault judge_unusable where a vector has no best dose because the judge scored none of its runs."""
    unscored = [candidate.subject.name for candidate in searched if candidate.stopped == UNSCORED]
    if unscored:
        raise JobFault(
            "judge_unusable",
            f"The judge scored no dose of {unscored[0]}, so none can be chosen. Steer again with another judge.",
        )


def _coherence(setup: Setup, chosen: Mapping[str, Searched], leader: str) -> Mapping[str, float | str | None]:
    """For each group the dose that is as coherent as the leader's best dose, or the reason why there is none; empty if not requested."""
    if not setup.pushes_have_doses or "coherence" not in setup.spec["matched"]:
        return {}
    return match_coherence(setup, chosen, leader)


def _divergence(setup: Setup, chosen: Mapping[str, Searched], leader: str, base: Run) -> Divergences:
    """For each group the doses that diverge from the unsteered model by the targets, or the reason why there are none; empty if not
    requested. Sampled answers have none, because a randomly drawn text is not the model's most likely answer."""
    if not setup.pushes_have_doses or "divergence" not in setup.spec["matched"]:
        return Divergences()
    if setup.spec["sampling"]:
        return Divergences(doses={"divergence": dict.fromkeys(chosen, SAMPLED)})
    return match_divergence(setup, chosen, base, leader)


def _prompt_only(setup: Setup) -> Run | None:
    """The control without a vector: the test questions under a system prompt that requests the trait."""
    if PROMPT_ONLY not in setup.later:
        return None
    questions = setup.later[PROMPT_ONLY]
    setup.evaluator.begin("asking in the prompt", len(questions))
    return setup.evaluator.evaluate([RunSpec(questions, PROMPT_ONLY)])[0]
