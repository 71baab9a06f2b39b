"""The kinds of jobs that a form can submit: their fields, and the service that estimates and submits them, as in the API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from app.calibrations import service as calibrations
from app.calibrations.schemas import CalibrationRequest
from app.errors import invalid
from app.extractions import service as extractions
from app.extractions.schemas import ExtractionRequest
from app.generations import service as generations
from app.generations.schemas import GenerationRequest
from app.http.renamed import RenamedRequest
from app.jobs.schemas import JobRequest
from app.jobs.submitting import Answer
from app.pages.forms.fields import Field, Values, request_of, values_of
from app.steerings import service as steerings
from app.steerings.schemas import SteeringRequest
from app.studies import service as studies
from app.studies.schemas import StudyRequest
from terms.values import Json, JsonObject

MODEL = Field("model", "Model", "choice", asks="models", needed=True)
TRAIT = Field("trait", "Trait", "choice", asks="traits", needed=True)
LAYERS = "For example 2, 5-8. Empty: all."
SHORT = Field("max_new_tokens", "Longest answer, in tokens", "number", rare=True)
JUDGE = Field("judge", "Judge", "choice", asks="judges")
ABOUT = (
    Field("name", "Name", "line", "A name that people recognise."),
    Field("tags", "Tags, separated by commas", "names", rare=True),
    Field("further", "Further fields of the request, as JSON", "json", 'For example {"seed": 1}. The API page lists them.', rare=True),
)  # fmt: skip


class Service(Protocol):
    """The module that estimates and submits jobs of a kind."""

    @property
    def estimate(self) -> Callable[..., BaseModel]: ...

    @property
    def submit(self) -> Callable[..., Answer]: ...


@dataclass(frozen=True)
class FormKind:
    """The form of one kind of job.

    `planned`: a submission makes a graph of jobs, so the estimate and the submission run in `app.planner`. `adapt`
    converts the form's fields to the API's request, `unadapt` converts a request to the form's fields.
    """

    kind: str
    title: str
    does: str
    path: str
    request: type[JobRequest]
    service: Service
    fields: tuple[Field, ...]
    planned: bool = False
    adapt: Callable[[JsonObject], JsonObject] = dict
    unadapt: Callable[[JsonObject], JsonObject] = dict

    @property
    def called(self) -> str:
        """Returns the name of the kind in the client and on the command line."""
        return "study" if self.kind == "report" else self.kind

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """Returns the form's own fields and the fields of every job."""
        return (*self.fields, *ABOUT)

    @property
    def renamed(self) -> dict[str, str]:
        """Returns the API's name of each renamed field, by its original name, which Python and stored specs still use."""
        return self.request.renamed() if issubclass(self.request, RenamedRequest) else {}

    def default(self, name: str) -> Json:
        """Returns the default of the request's field with this API name; None if the field is required or unknown."""
        first = {new: old for old, new in self.renamed.items()}.get(name, name)
        field = self.request.model_fields.get(first)
        value = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
        as_json: Json = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        return as_json

    def body(self, values: Values) -> JsonObject:
        """Returns the request's body. Raises Problem 422."""
        return self.adapt(request_of(self.all_fields, values))

    def filled(self, request: JsonObject) -> dict[str, list[str]]:
        """Returns the texts that fill the form with this request."""
        return values_of(self.all_fields, self.unadapt(request))


def _prompted(body: JsonObject) -> JsonObject:
    """Returns the body of a generation: the form's texts become prompts, each with the form's system prompt or None. Prompts that are not a
    list stay as they are, for the request to refuse.

    Raises Problem 422 for a system prompt beside prompts that are objects, which name their own.
    """
    system = body.pop("system_prompt", None)
    prompts = body.get("prompts")
    if not isinstance(prompts, list):
        return body
    if all(isinstance(prompt, str) for prompt in prompts):
        body["prompts"] = [{"prompt": prompt, "system_prompt": system} for prompt in prompts]
    elif system is not None:
        raise invalid(
            "/system_prompt", "given_twice", "The prompts in the JSON name their own system prompts: leave this field empty."
        )
    return body


def _texts(request: JsonObject) -> JsonObject:
    """Returns the form's fields of a generation, the reverse of `_prompted`; unchanged if the prompts have different system prompts."""
    prompts = request.get("prompts")
    if not isinstance(prompts, list):
        return dict(request)
    systems = {prompt.get("system_prompt") for prompt in prompts}
    if len(systems) != 1:
        return dict(request)
    [system] = systems
    own = {"prompts": [prompt["prompt"] for prompt in prompts]} | ({} if system is None else {"system_prompt": system})
    return {**request, **own}


FORMS = {
    form.kind: form
    for form in (
        FormKind(
            "calibrate", "Calibrate a model", "Finds its massive dimensions, where they sit, and how much of the norm they hold.",
            "/v1/calibrations", CalibrationRequest, calibrations,
            (
                MODEL,
                Field("prompts", "Prompts", "texts", "One per line, or separated by empty lines. Empty: 50 neutral ones."),
                Field("layers", "Layers", "layers", LAYERS, rare=True),
                Field("rule", "Rule for massive dimensions", "line", rare=True),
                SHORT,
            ),
        ),
        FormKind(
            "extract", "Extract vectors", "Makes vectors of a trait by several methods at several layers.",
            "/v1/extractions", ExtractionRequest, extractions,
            (
                MODEL, TRAIT, Field("methods", "Methods", "choices", asks="methods"), Field("layers", "Layers", "layers", LAYERS),
                Field("positions", "Positions", "names", "For example response[:5], prompt[-1].", rare=True),
                Field("responses", "Answers", "choice", asks="responses", rare=True),
                Field("control_vectors", "Control vectors of each kind", "number", rare=True), SHORT,
            ),
        ),
        FormKind(
            "steer", "Steer", "Finds the layer and dose at which each vector works, and measures it on held-out questions.",
            "/v1/steerings", SteeringRequest, steerings,
            (
                MODEL, TRAIT, Field("extraction", "Vectors of", "choice", asks="extractions"),
                Field("methods", "Methods", "choices", "None chosen: all of the extraction.", asks="methods"),
                Field("layers", "Layers", "layers", LAYERS), JUDGE,
                Field("doses", "Doses", "numbers", "Empty: searched. In norms of the stream without massive dimensions.", rare=True),
                Field("vectors", "Or these vectors, by id", "names", "Instead of an extraction. The Vectors page fills this in.", rare=True),
                Field("selection_limit", "Questions to choose the dose on, at most", "number", rare=True),
                Field("test_limit", "Held-out questions, at most", "number", rare=True), SHORT,
            ),
        ),
        FormKind(
            "report", "Study", "Calibrates, extracts and steers for every model and trait, and says which method to use.",
            "/v1/studies", StudyRequest, studies,
            (
                Field("models", "Models", "choices", asks="models", needed=True),
                Field("traits", "Traits", "choices", "None chosen: calibrations alone.", asks="traits"),
                Field("methods", "Methods", "choices", asks="methods"), Field("evidence", "Evidence", "choice", asks="evidence"), JUDGE,
                Field("layers", "Layers", "layers", "For example 2, 5-8. Empty: every second layer of the middle half.", rare=True),
                Field("selection_limit", "Questions to choose the dose on, at most", "number", rare=True),
                Field("test_limit", "Held-out questions, at most", "number", rare=True), SHORT,
            ),
            planned=True,
        ),
        FormKind(
            "generate", "Look at answers", "Answers prompts unsteered and under vectors at several doses, in seconds. Nothing is judged.",
            "/v1/generations", GenerationRequest, generations,
            (
                MODEL, Field("prompts", "Prompts", "texts", "One per line, or separated by empty lines.", needed=True),
                Field("system_prompt", "System prompt", "text"),
                Field("vectors", "Vectors", "choices", "Those of the chosen model.", asks="vectors"),
                Field("doses", "Doses", "numbers", "Empty: 0.25, 0.5 and 1. In norms of the stream without massive dimensions."), SHORT,
            ),
            adapt=_prompted, unadapt=_texts,
        ),
    )
}  # fmt: skip
"""The forms by kind of job, in the usual order of research."""
