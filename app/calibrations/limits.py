"""Limits of a calibration that are checked at submission; each refusal names the numbers and the field to change."""

from app.calibrations.schemas import CalibrationRequest
from app.errors import Problem, invalid
from app.jobs.prompts import check_prompts
from app.models.context import check_context
from app.models.layers import layers_of
from app.settings import LimitSettings
from binnacle.words.counting import counted
from terms.documents.model import ModelFactsDocument

NEUTRAL_PROMPTS = 50
"""Number of built-in prompts, used for requests without prompts."""


def prompt_count(request: CalibrationRequest) -> int:
    """Returns the number of prompts that the job will run."""
    return NEUTRAL_PROMPTS if request.prompts is None else len(request.prompts)


def arithmetic(request: CalibrationRequest) -> str:
    """Returns the size of the job in words: `50 prompts x 128 new tokens = 6,400 generated tokens`."""
    prompts, tokens = prompt_count(request), request.max_new_tokens
    return f"{counted(prompts, 'prompt')} x {counted(tokens, 'new token')} = {counted(prompts * tokens, 'generated token')}"


def over_budget(request: CalibrationRequest, limits: LimitSettings) -> str:
    """Returns the sentence with the size of a job that is over the server's budget, without what to do."""
    return f"{arithmetic(request)}; this server allows {limits.tokens:,}."


def check_size(request: CalibrationRequest, limits: LimitSettings) -> None:
    """Raises Problem 422 for prompts that are too many, too long or blank, and for answers over the server's budget."""
    if request.max_new_tokens > limits.new_tokens:
        detail = f"/max_new_tokens is {request.max_new_tokens:,}; this server allows {limits.new_tokens:,}."
        raise invalid("/max_new_tokens", "too_many_new_tokens", detail)
    check_prompts(request.prompts or [], limits)
    if prompt_count(request) * request.max_new_tokens > limits.tokens:
        detail = f"{over_budget(request, limits)} Send fewer prompts (/prompts) or ask for shorter answers (/max_new_tokens)."
        pointers = ["/max_new_tokens"] if request.prompts is None else ["/prompts", "/max_new_tokens"]
        errors = [{"pointer": pointer, "detail": detail, "code": "token_budget_exceeded"} for pointer in pointers]
        raise Problem(422, "token_budget_exceeded", detail, errors=errors)


def check_model(request: CalibrationRequest, facts: ModelFactsDocument) -> None:
    """Raises Problem 422 for layers or lengths beyond the model's, as far as its facts are known."""
    layers_of(request.layers, request.model, facts)
    check_context(request.model, facts, request.max_new_tokens)
