"""Warns about a trait before a job is submitted: too few test clusters for a verdict, an unsuitable judge, or texts for other models."""

from collections.abc import Iterable

from app.traits.models import Trait
from binnacle.words.counting import counted
from shipped import CHAT_TRAIT_NAMES, DEMO_TOKENIZER
from terms.documents.model import ModelFactsDocument
from terms.documents.trait import TraitCounts
from terms.evidence import FEWEST_CLUSTERS
from terms.judging import JudgeSpec

DEMO = "demo models"
"""Value of `made_for` for traits in the toy language of the shipped models."""


def few_clusters(name: str, clusters: int, *, split: bool = True) -> list[str]:
    """Returns a warning when `clusters` test clusters are too few for a verdict, with the number to add. `split`: questions without a split of
    their own are split by the service.
    """
    missing = FEWEST_CLUSTERS - clusters
    if missing <= 0:
        return []
    halved = f" (without a split, half of the questions' clusters go to the test: add {2 * missing})" if split else ""
    return [
        f"{name}: {counted(clusters, 'test cluster')}; a verdict needs {FEWEST_CLUSTERS}: "
        f"add {counted(missing, 'test question')}, each in a new cluster{halved}."
    ]


def of_trait(name: str, counts: TraitCounts) -> list[str]:
    """Returns the warnings that apply to every use of the trait: too few test clusters, and no question to choose a dose on.

    `counts` are the stored counts of the trait's prompts, questions and clusters.
    """
    warnings = few_clusters(name, counts["clusters"]["test"])
    if counts["selection"] == 0:
        warnings.append(
            f"{name}: no selection question, so no dose can be chosen and steering is refused: add questions of another cluster, or give "
            'some questions "split": "selection".'
        )
    return warnings


def of_questions(trait: Trait, requested: Iterable[str] | None, limit: int | None) -> list[str]:
    """Returns the warnings for the test questions of a steering.

    `requested` holds the cluster of each test question in the request; None: the trait's own test questions are used. `limit` is the request's
    `test_limit`, the largest number of test questions.
    """
    clusters = trait.counts["clusters"]["test"] if requested is None else len(set(requested))
    warnings = few_clusters(trait.name if requested is None else "/questions/test", clusters, split=requested is None)
    if not warnings and limit is not None and limit < FEWEST_CLUSTERS:
        return [
            f"/test_limit is {limit}: at most {counted(limit, 'test cluster')}; a verdict needs {FEWEST_CLUSTERS}. Allow more or leave it out."
        ]
    return warnings


def of_judge(trait: Trait, judge: JudgeSpec) -> list[str]:
    """Returns a warning when the judge is a list of refusal phrases: a mild one for a trait about refusal, a strong one for any other trait."""
    if judge["kind"] != "phrases":
        return []
    about = f"{judge['name']} is a fixed list of phrases in English: it sees no other wording of a refusal."
    if "refus" in f"{trait.name} {trait.definition}".lower():
        return [f"{about} Confirm its verdicts with another judge."]
    return [f"{about} {trait.name} does not say that it is about refusal, so its scores would mean nothing: name another judge."]


def of_model(trait: Trait, model: str, facts: ModelFactsDocument) -> list[str]:
    """Returns a warning when the trait is in the toy language of the demo models and the model is not a demo model, or the reverse."""
    if "tokenizer_hash" not in facts:
        return []  # the model is not inspected yet
    toy, demo = trait.counts.get("made_for") == DEMO, facts["tokenizer_hash"] == DEMO_TOKENIZER
    if toy and not demo:
        others = ", ".join(CHAT_TRAIT_NAMES)
        return [
            f"{trait.name} is made for the demo models: its sentences are in their toy language, and {model} is not a demo model. "
            f"Use a trait for chat models ({others}) or your own."
        ]
    if demo and not toy:
        return [
            f"{model} is a demo model and knows only its toy language; {trait.name} is not made for demo models, so its results mean nothing. "
            "Use the traits refusal or sycophancy, or another model."
        ]
    return []
