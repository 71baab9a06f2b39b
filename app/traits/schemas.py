"""Request and response schemas of trait datasets. `app.traits.checks` decides which contents make a usable trait."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.auth.sharing import Sharing
from app.auth.visibility import Visibility
from app.http.paging import Page
from app.jobs.prompts import short_for
from app.text import Line
from terms.values import JsonField

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[0-9a-f]{8,64})?$"
"""Pattern of a trait's reference in requests: the newest version of a name, or the version with this prefix of its hash."""

TraitName = Annotated[str, StringConstraints(pattern=NAME)]
TraitReference = Annotated[str, StringConstraints(pattern=REFERENCE)]
Text = Annotated[str, StringConstraints(max_length=1_000_000)]
Cluster = Annotated[Line, StringConstraints(min_length=1, max_length=200)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Prompt(_Row):
    """A prompt of one class. Two prompts of one `cluster` are nearly the same question; without one, near-duplicates share one."""

    prompt: Text
    system_prompt: Text | None = None
    cluster: Cluster | None = None
    response: Text | None = Field(None, description="the response to read; the model generates one when left out")


class Question(_Row):
    """A question to steer on. Without a `split` it is drawn for selection or test, by cluster."""

    question: Text
    system_prompt: Text | None = None
    cluster: Cluster | None = None
    split: Literal["selection", "test"] | None = None


class Aside(_Row):
    """A rephrased or unrelated question: steering should carry over to the first and leave the second unchanged."""

    question: Text
    cluster: Cluster | None = None


PromptRow = Annotated[Prompt, short_for(Prompt, "prompt", Text)]
QuestionRow = Annotated[Question, short_for(Question, "question", Text)]
AsideRow = Annotated[Aside, short_for(Aside, "question", Text)]


class Steering(_Row):
    """The questions and the judge's prompt; trait-interp's `steering.json`."""

    questions: list[QuestionRow]
    eval_prompt: Text | None = Field(None, description="the judge's own prompt for this trait, with {question} and {answer}")
    direction: Literal["positive", "negative"] = Field("positive", description="negative: steer toward less of the trait")


class TraitRequest(_Row, Sharing):
    """A trait dataset. A row that holds only a text may be given as that text."""

    name: TraitName = Field(examples=["politeness"])
    definition: Text | None = Field(
        None, description="what the trait is, and what a high and a low degree look like; judges read it"
    )
    positive: list[PromptRow] = Field(description="prompts with answers that show the trait")
    negative: list[PromptRow] = Field(description="prompts with answers that do not show it")
    steering: Steering
    paraphrases: list[AsideRow] = Field(default_factory=list)
    unrelated: list[AsideRow] = Field(default_factory=list)
    made_for: Literal["demo models"] | None = Field(
        None, description="`demo models`: the texts are in the toy language of the shipped models; other models get a warning"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the draw of selection and test questions, for rows without a split")


class TraitOut(BaseModel):
    """One version of a trait, without its texts."""

    id: str
    name: str
    version: str = Field(description="sha256 of dataset.json")
    reference: str = Field(description="name@version: names exactly this version")
    owner: str
    visibility: Visibility
    group: str | None
    definition: str
    counts: JsonField = Field(description="rows and clusters by part, and the clusters that parts share")
    made_for: str | None = Field(description="`demo models` for texts in their toy language; null for all others")
    notes: list[str] = Field(description="what was taken, left out and filled in, and which parts could not be kept apart")
    warnings: list[str] = Field(description="what results with this trait will lack, and what to add")
    created_at: datetime
    links: dict[str, str]


class TraitVersion(BaseModel):
    """One of the versions of a trait name."""

    id: str
    version: str
    owner: str
    created_at: datetime


class TraitDetail(TraitOut):
    """One version of a trait, and the versions of its name that the caller can see."""

    versions: list[TraitVersion] = Field(description="newest first, 100 at most")


class TraitPage(Page[TraitOut]):
    """Traits, newest first."""
