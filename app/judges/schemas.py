"""Request and response schemas of judges."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.addresses import HOST_OR_NETWORK
from app.text import Line
from terms.values import JsonField

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
KEY_ENV = r"^[A-Z][A-Z0-9_]{0,90}_(KEY|TOKEN)$"
BUILT_IN = {"reference": "reference", "refusal-phrases": "phrases"}
"""Judges that are always there, with their kinds; both are fitted by each job and need no second model."""


class JudgeOptions(BaseModel):
    """How requests to an endpoint are made. A judge that is a local model uses only `relevance`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    concurrency: int = Field(8, ge=1, le=64, description="most requests at the same time")
    timeout_seconds: float = Field(60, ge=1, le=600, description="seconds for one request, from its first byte to its last")
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000, description="most requests per minute; null: no limit")
    relevance: bool = Field(
        True, description="also ask whether the answer engages with the question; off-topic answers get a coherence of at most 50"
    )
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="the endpoint's name for the limit of new tokens"
    )
    private_hosts: list[Annotated[str, StringConstraints(pattern=HOST_OR_NETWORK)]] = Field(
        default_factory=list,
        max_length=20,
        description="private hosts, addresses and networks that `url` may lead to, in addition to public addresses",
        examples=[["judge.lab", "10.0.0.0/8"]],
    )
    extra: JsonField = Field(
        default_factory=dict, max_length=20, description="additional fields of every request body, such as chat_template_kwargs"
    )


class JudgeRequest(BaseModel):
    """A request to add a judge. The endpoint gets its first request when a job uses the judge: the API itself sends none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(pattern=NAME)] = Field(description="the name that jobs use", examples=["gpt-4.1-mini"])
    kind: Literal["openai", "local"] = Field(
        description="openai: any endpoint that answers POST {url}/chat/completions with logprobs; local: a registered model"
    )
    model: Line = Field(
        min_length=1, max_length=200, description="the endpoint's name of the model, or a registered model's name"
    )
    url: Line | None = Field(
        None,
        max_length=1000,
        description="the endpoint's address, up to and including /v1",
        examples=["https://api.openai.com/v1"],
    )
    key_env: Annotated[str, StringConstraints(pattern=KEY_ENV)] | None = Field(
        None,
        description="the environment variable of the workers that holds the endpoint's key; its name ends in _KEY or "
        "_TOKEN. Keys are never stored",
        examples=["OPENAI_API_KEY"],
    )
    options: JudgeOptions = JudgeOptions()


class JudgeOut(BaseModel):
    """A judge that jobs can use. `reference` and `refusal-phrases`, a fixed list of phrases, always exist and need no second model."""

    name: str
    kind: Literal["reference", "phrases", "openai", "local"]
    model: str | None
    url: str | None
    key_env: str | None
    options: JsonField
    created_by: str | None
    created_at: datetime | None


class JudgeList(BaseModel):
    """The judges that are always there, then the others by name."""

    items: list[JudgeOut]
