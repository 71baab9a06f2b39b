"""Prompts of a request: a text, or an object with the text and a system prompt."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints

from terms.values import JsonObject

Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class PromptIn(BaseModel):
    """One prompt, alone or under a system prompt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Text
    system_prompt: Text | None = None


def short_for(model: type[BaseModel], field: str, text: Any = Text) -> BeforeValidator:
    """A text stands for an object that holds this one field."""
    return BeforeValidator(lambda sent: {field: sent} if isinstance(sent, str) else sent, json_schema_input_type=model | text)


def _shortest(one: PromptIn) -> str | JsonObject:
    return one.prompt if one.system_prompt is None else one.model_dump()


Prompt = Annotated[PromptIn, short_for(PromptIn, "prompt")]
"""Either form, read and kept as an object."""
ShortPrompt = Annotated[Prompt, PlainSerializer(_shortest)]
"""Either form, kept as a text where there is no system prompt: as specs held them before there were objects."""
