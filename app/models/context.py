"""Checks prompt and answer lengths against a model's context, as far as possible without its tokenizer."""

from app.errors import invalid
from terms.documents.model import ModelFactsDocument


def check_context(model: str, facts: ModelFactsDocument, new_tokens: int) -> None:
    """Raises Problem 422 `context_exceeded` if the new tokens leave no room for any prompt. `facts` is empty before the inspection."""
    context = facts.get("context_length")
    if context is not None and new_tokens >= context:
        detail = (
            f"/max_new_tokens is {new_tokens:,}, but prompt and answer must fit into the {context:,} tokens of {model}'s context. "
            "Ask for fewer."
        )
        raise invalid("/max_new_tokens", "context_exceeded", detail)
