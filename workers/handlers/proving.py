"""`prove`: runs the proofs of a model on its own files and weights; until none is refused, no job may use it.

A passport of the same content (files, dtype, kind of device, versions) is taken from the store. Each finished proof that was not
refused is stored as a cell, so that a job that was killed or yielded continues with the next proof.
"""

import json
from collections.abc import Callable
from typing import cast

from app.models.reading import REFUSED
from terms.documents.passport import ProvedOutcome
from terms.specs import ModelSpec
from terms.values import JsonObject
from workers.job import JobContext, JobFault, Outcome
from workers.lm.errors import ModelFault
from workers.lm.facts import facts_from_dict
from workers.lm.folder import config_hash
from workers.lm.model import LanguageModel
from workers.lm.proofs.content import content_of, key_of
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.passport import PROOFS, Passport, prove


def run(spec: ModelSpec, context: JobContext) -> Outcome:
    """Spec: `model` (its registered name). Result: `{"key", "content", "passport": Passport.to_dict(), "stored"}`.

    Raises JobFault proof_refused with the sentences of the refused proofs and the whole passport, weights_changed, out_of_memory.
    """
    stored = _stored(spec["model"], context)
    if stored is not None:
        return stored
    try:
        lm = context.model(spec["model"])
        content = content_of(
            lm.facts, config_hash=config_hash(lm.folder), dtype=str(lm.dtype).removeprefix("torch."), device=lm.device.type
        )
        passport = _prove(lm, key_of(content), context)
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault
    proved: ProvedOutcome = {"key": key_of(content), "content": content, "passport": passport.to_dict(), "stored": False}
    if passport.outcome == "refused":
        sentences = " ".join(f"{proof.name}: {proof.sentence}" for proof in passport.proofs if proof.outcome == "refused")
        raise JobFault(REFUSED, sentences, **cast(JsonObject, proved))
    return Outcome(result=proved)


def _stored(model: str, context: JobContext) -> Outcome | None:
    """The outcome of earlier proofs of the same content, without loading the model; None if there is none. A refused model is proved again."""
    facts = facts_from_dict(context.model_facts(model))
    if not facts.config_hash:  # from an older inspection
        return None
    device = context.device.split(":")[0]
    content = content_of(facts, config_hash=facts.config_hash, dtype=context.dtype, device=device)
    passport = context.passport(key_of(content))
    if passport is None or passport["outcome"] == "refused":
        return None
    return Outcome(result={"key": key_of(content), "content": content, "passport": dict(passport), "stored": True})


def _prove(lm: LanguageModel, key: str, context: JobContext) -> Passport:
    done = 0

    def progress(finished: int, _total: int) -> None:
        nonlocal done
        done = finished
        context.progress(done)

    def proof(name: str, run: Callable[[], Proof]) -> Proof:
        cell = f"proofs/{key}/{name}"
        kept = context.cell(cell)
        if kept is not None:
            return Proof(**json.loads(kept))
        new_proof = run()
        if new_proof.outcome != "refused":
            context.commit_cell(cell, json.dumps(new_proof.to_dict()).encode())
        context.may_yield()
        return new_proof

    context.phase("proving", len(PROOFS), "proofs")
    return prove(lm, progress=progress, check=lambda: context.progress(done), run=proof)
