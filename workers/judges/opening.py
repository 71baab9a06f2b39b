"""Opens the judge that a job's spec describes, or fits it, ready to score the answers of one trait."""

from typing import TYPE_CHECKING

from terms.judging import FITTED, JudgeSpec
from workers.job import JobContext, JobFault
from workers.judges.base import Judge
from workers.judges.material import Material

if TYPE_CHECKING:
    from workers.lm.model import LanguageModel


MOST_PROMPT = 512
"""Prompt tokens for which the batch plan of the reference judge leaves room; for longer prompts, batches are halved when memory runs out."""


def bytes_left_by(described: JudgeSpec, budget_bytes: int) -> int:
    """The part of a job's memory for batches that are generated or read while the judge is open: a fitted judge keeps prompts in the rest."""
    from workers.lm.memory import kept_bytes

    return budget_bytes - kept_bytes(budget_bytes) if described["kind"] in FITTED else budget_bytes


def open_judge(
    described: JudgeSpec,
    lm: "LanguageModel | None",
    material: Material,
    context: JobContext,
    *,
    share: float | None = None,
) -> Judge:
    """Opens the judge that `described` names, for the answers of `lm`.

    Only the reference judge uses `lm` and `material` beyond the trait (see `ReferenceJudge.fit`); the phrase judge takes its coherence from the
    reference judge. A reference judge of an equal fit is taken from the cells of this job, or of another job that its owner may see; otherwise
    it is fitted on `lm` and, if `lm` is proved, stored as a cell of this job (`keeping.fitted`; `key` is the hash of all inputs of the fit). An
    openai judge calls its endpoint, a local judge loads its model.

    The caller has begun a phase. Fitting has its own phases, a `share` of the job in all, and may yield the device (`preparing`).

    Raises JobFault unknown_judge, judge_key_missing, judge_unusable, judge_not_fitted; TransientFault when an endpoint cannot be reached.
    """
    relevance = bool(described["options"].get("relevance", True))
    if described["kind"] == "openai":
        from workers.judges.endpoint import Endpoint
        from workers.judges.openai import OpenAIJudge

        return OpenAIJudge(Endpoint(described), material.trait, relevance=relevance)
    if described["kind"] == "local":
        from workers.judges.local import LocalJudge

        return LocalJudge(
            context.model(str(described["model"])),
            material.trait,
            name=described["name"],
            model=str(described["model"]),
            relevance=relevance,
        )
    if described["kind"] in FITTED and lm is not None:
        from workers.judges.keeping import fitted
        from workers.judges.phrases import PhraseJudge
        from workers.judges.preparing import Preparing
        from workers.judges.reference import ReferenceJudge
        from workers.lm.kept_prompts import release_kept
        from workers.lm.memory import batch_rows_for, kept_bytes

        budget = context.batch_budget_bytes
        room = kept_bytes(budget)
        rows = batch_rows_for(lm, min(lm.context_length, MOST_PROMPT), material.max_new_tokens, bytes_left_by(described, budget))
        # Frees the prompts of another judge of the job. The model may now answer in batches of the whole budget.
        release_kept(lm)

        def fit(key: str) -> ReferenceJudge:
            preparing = Preparing(context, str(material.trait.get("name") or "the trait"), key, share)
            return ReferenceJudge.fit(lm, material, batch_rows=rows, room=room, preparing=preparing)

        judge = fitted(fit, lm, material.to_list(), context, batch_rows=rows, room=room)
        return PhraseJudge(judge) if described["kind"] == "phrases" else judge
    raise JobFault("unknown_judge", f"This job cannot open the judge {described['name']!r} of the kind {described['kind']!r}.")
