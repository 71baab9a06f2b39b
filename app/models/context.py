"""Checks the length of answers: against a model's context, as far as possible without its tokenizer, and against the scope of a push."""

from app.errors import invalid
from terms.documents.model import ModelFactsDocument
from terms.interventions import Scope


def check_context(model: str, facts: ModelFactsDocument, new_tokens: int) -> None:
    """Raises Problem 422 `context_exceeded` if the new tokens leave no room for any prompt. `facts` is empty before the inspection."""
    context = facts.get("context_length")
    if context is not None and new_tokens >= context:
        detail = (
            f"/max_new_tokens is {new_tokens:,}, but prompt and answer must fit into the {context:,} tokens of {model}'s context. "
            "Ask for fewer."
        )
        raise invalid("/max_new_tokens", "context_exceeded", detail)


def check_scope(scope: Scope, new_tokens: int) -> None:
    """Raises Problem 422 `no_effect` if the push cannot change an answer: the last position of the prompt makes the first token of the answer,
    and the scope `response` leaves the prompt alone.
    """
    if scope == "response" and new_tokens < 2:
        detail = (
            "/scope response pushes from the answer's first token on, and /max_new_tokens is 1: nothing would change. Ask for more tokens, or "
            "for the scope all."
        )
        raise invalid("/scope", "no_effect", detail)
