"""Prompts of a request: a text, or an object with the text and a system prompt."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints

from app.errors import invalid
from app.settings import LimitSettings
from app.text import check_not_blank
from terms import specs

Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class PromptIn(BaseModel):
    """One prompt, alone or under a system prompt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Text
    system_prompt: Text | None = None


def short_for(model: type[BaseModel], field: str, text: Any = Text) -> BeforeValidator:
    """Returns a validator that accepts a plain text in place of an object with this one field."""
    return BeforeValidator(lambda sent: {field: sent} if isinstance(sent, str) else sent, json_schema_input_type=model | text)


def shortest(prompt: PromptIn) -> str | specs.Prompt:
    """Returns the prompt as a text when there is no system prompt."""
    if prompt.system_prompt is None:
        return prompt.prompt
    return {"prompt": prompt.prompt, "system_prompt": prompt.system_prompt}


def check_prompt(text: str, system_prompt: str | None, pointer: str, limits: LimitSettings) -> None:
    """Raises Problem 422 for a blank text, and for one that is too long together with its system prompt."""
    check_not_blank(text, pointer)
    length = len(text) + len(system_prompt or "")
    if length > limits.prompt_characters:
        together = " together with its system prompt" if system_prompt else ""
        detail = f"{pointer} has {length:,} characters{together}; this server allows {limits.prompt_characters:,}. Shorten it."
        raise invalid(pointer, "prompt_too_long", detail)


def check_prompts(prompts: Sequence[PromptIn], limits: LimitSettings) -> None:
    """Raises Problem 422 for prompts of a request that are too many, too long or blank."""
    if len(prompts) > limits.prompts:
        detail = f"/prompts holds {len(prompts):,} prompts; this server allows {limits.prompts:,}. Send fewer."
        raise invalid("/prompts", "too_many_prompts", detail)
    for i, prompt in enumerate(prompts):
        check_prompt(prompt.prompt, prompt.system_prompt, f"/prompts/{i}", limits)


Prompt = Annotated[PromptIn, short_for(PromptIn, "prompt")]
"""A prompt in either form, stored as an object."""
ShortPrompt = Annotated[Prompt, PlainSerializer(shortest)]
"""A prompt in either form, stored as a text when there is no system prompt: older specs store prompts that way."""
