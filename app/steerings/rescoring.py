"""Submits jobs that score the texts of an earlier steering with another judge."""

from sqlalchemy.orm import Session

from app.auth.sharing import require_management
from app.auth.viewer import Viewer
from app.errors import invalid
from app.jobs import repository as job_repository
from app.jobs.absence import absent
from app.jobs.models import Job
from app.jobs.references import check as check_references
from app.jobs.renewal import renewed, with_names
from app.jobs.schemas import Edge
from app.jobs.specs import MAKE_STEERINGS, as_json, scored_spec, steering_spec
from app.jobs.states import State
from app.jobs.submission import Asker
from app.jobs.submitting import Answer, Plan, answer, check_edges, promised, submitted
from app.judges import service as judges
from app.steerings import repository
from app.steerings.models import Steering
from app.steerings.schemas import RescoreRequest
from app.text import check_text
from terms.judging import FITTED, JudgeSpec
from terms.specs import SPECIAL_TOKENS, RescoringSpec, SteeringSpec


def rescore(session: Session, asker: Asker, identifier: str, request: RescoreRequest) -> Answer:
    """Submits a job that scores the steering's texts again: class light for an endpoint judge, model for judges that read texts with a model.

    The id of a steer job that failed or was cancelled submits that job again with the other judge: the new job reuses the finished texts. Its
    search follows the new scores, so it may generate texts at other doses. Raises Problem 403, 404, 422.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    viewer = asker.viewer
    check_text(request.model_dump(mode="json"))
    after = check_edges(session, request, viewer)
    judge = judges.usable(session, request.judge)
    row = repository.find(session, identifier, viewer)
    plan = _continued(session, identifier, request, viewer, judge) if row is None else _again(session, row, request, judge, after)
    return answer(session, asker, submitted(session, asker, plan, request))


def _again(session: Session, row: Steering, request: RescoreRequest, judge: JudgeSpec, after: list[Edge]) -> Plan:
    """Plans the scoring of a finished steering's texts by the other judge."""
    old = scored_spec(session.get_one(Job, row.job_id))
    spec: RescoringSpec = {
        "kind": "rescore",
        "steering": row.id,
        "job": row.job_id,
        "judge": judge,
        "coherence_threshold": old["coherence_threshold"] if request.coherence_threshold is None else request.coherence_threshold,
        "responses_given": old.get("responses_given", False),
        "special_tokens": old.get("special_tokens", SPECIAL_TOKENS),
        "extraction": _responses(session, old) if judge["kind"] in FITTED else None,
        # what wrote the texts, from the result: a steering submitted before its model was ready did not know it
        "reading_hash": row.reading_hash,
        "weight_hash": row.weight_hash,
        "model": old["model"],
        "trait": old["trait"],
        "seed": old["seed"],
    }
    return Plan("rescore", "light" if judge["kind"] == "openai" else "model", row.model, spec, after)


def _responses(session: Session, spec: SteeringSpec | RescoringSpec) -> str | None:
    """Returns the job of the responses that the texts' own steering read. A rescore by a judge that read none does not name it.

    Raises Problem 422 when a job in between was deleted.
    """
    while "job" in spec and spec["extraction"] is None:
        earlier = session.get(Job, spec["job"])
        if earlier is None:
            detail = (
                f"{spec['job']}, in which these texts were scored before, was deleted, and with it the record of the responses that this judge "
                "learns from. Name a judge that learns from no responses, or steer again."
            )
            raise invalid("/judge", "responses_not_known", detail)
        spec = scored_spec(earlier)
    return spec["extraction"]


def _continued(session: Session, identifier: str, request: RescoreRequest, viewer: Viewer, judge: JudgeSpec) -> Plan:
    """Plans the steer job again with the other judge, replacing a job that failed or was cancelled."""
    old = job_repository.find(session, identifier, viewer)
    if old is None or old.kind != "steer" or old.state not in (State.FAILED, State.CANCELLED):
        raise absent(session, "steering", identifier, viewer, *MAKE_STEERINGS)
    require_management(viewer, old.owner, identifier)
    first = steering_spec(old)
    threshold = first["coherence_threshold"] if request.coherence_threshold is None else request.coherence_threshold
    edges, names = renewed(session, old, viewer)
    spec: SteeringSpec = {**first, "judge": judge, "coherence_threshold": threshold}
    named, after = with_names(as_json(spec), names), [*edges, *request.after]
    check_references(session, viewer, old.id, named, [edge.job for edge in after])
    return Plan("steer", old.job_class, first["model"], named, after, retry_of=old.id)
