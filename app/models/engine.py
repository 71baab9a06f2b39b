"""Describes the engine that generates a model's text, as found by its inspection; shown in the estimate of a request."""

from pydantic import BaseModel, Field

from terms.documents.model import ModelFactsDocument
from terms.room import Engine

SENTENCES = {
    "slots": "Prompts of all lengths are generated together; a waiting prompt enters as another answer ends.",
    "library": "This model is generated on the library's cache, which is slower: some of its layers keep other state than keys and "
    "values, so only prompts of one length are generated together, and none enters before the last of them has ended.",
    "whole": "This model is generated without a cache, which is much slower: each new token computes its whole row again.",
}


class EngineOut(BaseModel):
    """What text is generated on, and what that means for the time."""

    name: Engine
    slower: bool = Field(description="whether jobs take longer than those of an equally large model with the engine `slots`")
    sentence: str


def engine_of(facts: ModelFactsDocument) -> EngineOut | None:
    """Returns the engine named in the facts; None before the model's inspection, or for facts of older inspections."""
    structure = facts.get("structure")
    name = structure.get("engine") if structure else None
    return EngineOut(name=name, slower=name != "slots", sentence=SENTENCES[name]) if name in SENTENCES else None
