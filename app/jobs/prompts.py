"""Prompts of a request: a text, or an object with the text and a system prompt."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints

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


Prompt = Annotated[PromptIn, short_for(PromptIn, "prompt")]
"""A prompt in either form, stored as an object."""
ShortPrompt = Annotated[Prompt, PlainSerializer(shortest)]
"""A prompt in either form, stored as a text when there is no system prompt: older specs store prompts that way."""
