"""Submits and shows generations. Functions run in the caller's transaction and raise Problem for invalid requests."""

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.calibrations import service as calibrations
from app.errors import invalid
from app.generations.schemas import GenerationCost, GenerationOut, GenerationRequest, PricedGeneration
from app.jobs import repository as job_repository
from app.jobs.absence import absent
from app.jobs.prompts import check_prompts
from app.jobs.reuse import read_as
from app.jobs.states import State
from app.jobs.submission import Asker
from app.jobs.submitting import Answer, Plan, answer, check_admissible, edges_of, promised, submitted, with_edge
from app.models import service as models
from app.models.context import check_context, check_scope
from app.models.models import Model
from app.models.reading import doubt, reading_of
from app.models.running import check_fits, running
from app.quotas.admission import admission
from app.settings import LimitSettings
from app.steerings.vectors import as_named, vectors_by_id
from app.text import check_text
from binnacle.words.counting import counted
from terms.specs import GenerationSpec

DOSES = (0.25, 0.5, 1.0)
MOST_ANSWERS = 512
MOST_TOKENS = 256
"""A generation goes before other jobs, so it takes seconds on a loaded model. More is what steerings are for."""


def cost(request: GenerationRequest, limits: LimitSettings) -> GenerationCost:
    """Returns the numbers of answers and tokens, and their arithmetic. Raises Problem 422 `too_many_answers`, `too_many_new_tokens`,
    `token_budget_exceeded`."""
    doses = len(request.doses or request.coefficients or DOSES) if request.operation != "ablate" else 1
    prompts, vectors = len(request.prompts), len(set(request.vectors))
    answers = prompts * (1 + vectors * doses)
    each = f"1 unsteered + {counted(vectors, 'vector')} x {counted(doses, 'dose')}"
    said = f"{counted(prompts, 'prompt')} x ({each}) = {counted(answers, 'answer')}"
    if answers > MOST_ANSWERS:
        raise invalid(
            "/prompts",
            "too_many_answers",
            f"{said}; a generation has at most {MOST_ANSWERS:,}. Use POST /v1/steerings for more.",
        )
    if request.max_new_tokens > min(MOST_TOKENS, limits.new_tokens):
        most = (
            f"this server allows {limits.new_tokens:,}"
            if limits.new_tokens < MOST_TOKENS
            else f"a generation has at most {MOST_TOKENS:,}"
        )
        detail = f"/max_new_tokens is {request.max_new_tokens:,}; {most}."
        raise invalid("/max_new_tokens", "too_many_new_tokens", detail)
    tokens = answers * request.max_new_tokens
    if tokens > limits.tokens:
        detail = f"{said} x {counted(request.max_new_tokens, 'new token')} = {tokens:,}; this server allows {limits.tokens:,}."
        raise invalid("/max_new_tokens", "token_budget_exceeded", detail)
    return GenerationCost(answers=answers, generated_tokens=tokens, limit=MOST_ANSWERS, arithmetic=said)


def estimate(session: Session, asker: Asker, request: GenerationRequest) -> PricedGeneration:
    """Returns the cost of the request after all checks of a submission; writes nothing. Raises Problem like `submit`."""
    model, _ = _spec(session, request, asker)
    after, made = edges_of(session, request, asker.viewer, model.awaited), 0
    if _needs_calibration(request):
        after, made = calibrations.after_for_model(session, asker, request, request.calibration, model, after)
    check_admissible(session, request, after, asker.viewer)
    return PricedGeneration(
        **cost(request, asker.settings.limit).model_dump(),
        **running(session, model, request.max_new_tokens),
        admission=admission(session, asker.viewer.owner, jobs=1 + made),
    )


def _spec(session: Session, request: GenerationRequest, asker: Asker) -> tuple[Model, GenerationSpec]:
    check_text(request.model_dump(mode="json"))
    cost(request, asker.settings.limit)
    for name in () if request.vectors else ("doses", "coefficients", "calibration"):
        if getattr(request, name) is not None:
            raise invalid(f"/{name}", "no_vectors", f"/{name} has no effect without /vectors: give vectors, or leave it out.")
    check_prompts(request.prompts, asker.settings.limit)
    model = models.usable(session, request.model)
    check_context(request.model, model.facts if model.state == "ready" else {}, request.max_new_tokens)
    if request.vectors:
        check_scope(request.scope, request.max_new_tokens)
    check_fits(session, model, request.max_new_tokens)
    rows = vectors_by_id(session, list(dict.fromkeys(request.vectors)), asker.viewer, model, sibling=request.sibling)
    return model, {
        "kind": "generate",
        "model": request.model,
        "weight_hash": (model.facts if model.state == "ready" else {}).get("weight_hash"),
        "reading_hash": reading_of(model),
        "prompts": [{"prompt": prompt.prompt, "system_prompt": prompt.system_prompt} for prompt in request.prompts],
        "vectors": [as_named(row, model) for row in rows],
        "doses": None if request.coefficients else list(request.doses or DOSES),
        "coefficients": request.coefficients,
        "operation": request.operation,
        "scope": request.scope,
        "max_new_tokens": request.max_new_tokens,
        "sampling": None if request.sampling is None else request.sampling.spec(),
        "special_tokens": request.special_tokens,
        "calibration": None,
    }


def _needs_calibration(request: GenerationRequest) -> bool:
    return bool(request.vectors) and (request.coefficients is None or request.calibration is not None)


def submit(session: Session, asker: Asker, request: GenerationRequest, reuse: bool = False) -> Answer:
    """Submits the request and, if its doses need one, the calibration that they are measured with; returns the job as the API shows it.

    A request with raw coefficients needs no calibration unless it names one: an existing calibration of the model, if any, tells their doses.
    Returns an earlier job when the idempotency key was used before, and with `reuse` possibly a finished job of the same calculation.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    model, spec = _spec(session, request, asker)
    after = edges_of(session, request, asker.viewer, model.awaited)
    if _needs_calibration(request):
        job, wait = calibrations.for_model(session, asker, request, request.calibration, model)
        spec["calibration"] = {"job": job}
        after = with_edge(after, job) if wait else after
    elif spec["vectors"] and (known := calibrations.finished_of(session, model, asker.viewer)) is not None:
        spec["calibration"] = {"job": known}
    plan = Plan("generate", "model", request.model, spec, after)
    return answer(session, asker, submitted(session, asker, plan, request, reuse=reuse))


def find(session: Session, job_id: str, viewer: Viewer) -> GenerationOut:
    """Returns the answers of a finished generation. Raises Problem 404, 409."""
    job = job_repository.find(session, job_id, viewer)
    if job is None or job.kind != "generate" or job.state != State.SUCCEEDED or job.result is None or job.model is None:
        raise absent(session, "generation", job_id, viewer, "generate")
    reading = read_as(job.result)
    return GenerationOut(
        job=job.id, model=job.model, answers=job.result["answers"], reading_hash=reading,
        doubt=doubt(session.get(Model, job.model), reading),
    )  # fmt: skip
