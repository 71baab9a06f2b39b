"""HTTP routes of studies: plan, submit, watch the graph, read the report."""

from typing import Annotated, Literal

from fastapi import Body, Path, Query, Request, Response
from fastapi.openapi.models import Example

from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.downloads import serve_file
from app.http.paging import Cursor, Limit
from app.http.problems import documented
from app.jobs.asking import Asks, creates_job
from app.studies import service
from app.studies.results import StudyCost, StudyOut, StudyPage
from app.studies.schemas import LabelsIn, StudyRequest

router = keyed_router(prefix="/v1/studies", tag="studies")

EXAMPLES: dict[str, Example] = {
    "one model": {
        "summary": "Which method to trust for refusal on one model",
        "value": {"models": ["demo-severe"], "traits": ["refusal"], "methods": ["mean_diff", "mean_diff_top1", "probe"]},
    },
    "everything": {
        "summary": "Four models, two traits, all the evidence",
        "value": {
            "models": ["demo-severe", "demo-mild", "demo-plain", "demo-signal"],
            "traits": ["refusal", "sycophancy"],
            "evidence": "full",
        },
    },
}
StudyId = Annotated[
    str,
    Path(
        pattern=r"^(std|job)_[0-9a-z]{26}$",
        description="the id of the study, or of its job",
        examples=["std_01k9zq3m4e8v6t2y5w7x9abcde"],
    ),
]
FileName = Literal["report.html", "report.md", "tables.json", "labelling.csv"]
SANDBOX = "sandbox allow-scripts allow-downloads"
"""Content security policy of the report, which contains text that models wrote: no forms, popups or access to this service's pages. Reports
of earlier versions draw and save their plots with scripts; those of today have none."""


@router.post(
    "",
    operation_id="submitStudy",
    summary="Submit a study",
    **creates_job(
        413,
        415,
        job="the study's Job",
        cost=StudyCost,
        answers_200="dry_run: every job it would run, with its estimated cost. reuse: the finished study's job",
    ),
)
async def submit_study(
    body: Annotated[StudyRequest, Body(openapi_examples=EXAMPLES)],
    asks: Asks,
    dry_run: Annotated[bool, Query(description="only plan the jobs and estimate their cost")] = False,
    reuse: Annotated[bool, Query(description="use finished jobs of the same calculation that you may read")] = False,
) -> Response:
    """Makes jobs that calibrate, extract and steer for every model and trait, and a report that compares the methods."""
    if dry_run:
        return await asks.priced(service.estimate, body, reuse, planned=True)
    return await asks.submitted(service.submit, body, reuse, planned=True)


@router.get("", operation_id="listStudies", summary="List studies", response_model=StudyPage, responses=documented(422))
async def list_studies(viewer: Caller, context: Shared, limit: Limit = 20, cursor: Cursor = None) -> StudyPage:
    """Returns the studies that you can see, newest first."""

    return await StudyPage.newest(
        context,
        lambda session, before, count: service.listing(session, viewer, limit=count, before=before),
        scope="studies",
        limit=limit,
        cursor=cursor,
        key=lambda study: (study.created_at, study.id),
    )


@router.get("/{study_id}", operation_id="getStudy", summary="Get a study and its jobs", responses=documented(404, 422))
async def get_study(study_id: StudyId, viewer: Caller, context: Shared) -> StudyOut:
    """Returns the study: all its jobs with their states, and the result once the report is written."""
    return await context.database.read(service.find, study_id, viewer)


@router.post(
    "/{study_id}/retry",
    operation_id="retryStudy",
    summary="Retry the failed jobs of a study",
    **creates_job(404),
)
async def retry_study(study_id: StudyId, asks: Asks) -> Response:
    """Makes a new study with new jobs for those that failed or were cancelled; jobs that succeeded are reused. The new jobs are yours.
    Every job of the study must be shared with you (409 `not_shared`)."""
    return await asks.submitted(service.retry, study_id, planned=True)


@router.post(
    "/{study_id}/labels",
    operation_id="labelStudy",
    summary="Send a person's labels of a study's texts",
    **creates_job(404, 413, 415),
)
async def label_study(study_id: StudyId, body: LabelsIn, asks: Asks) -> Response:
    """Makes a new study of the same jobs and a report with the judge's agreement with these labels. Below a rank correlation of 0.6 the
    report gives no verdict; labels of texts in fewer than 20 clusters decide nothing. Every job must be shared with you (409 `not_shared`)."""
    return await asks.submitted(service.label, study_id, body)


@router.get(
    "/{study_id}/{name}",
    operation_id="getStudyFile",
    summary="Get the report",
    response_class=Response,
    responses={
        200: {"description": "The file"},
        206: {"description": "The requested range"},
        304: {"description": "Not modified: you have this version"},
        307: {"description": "Redirect to the object store; the address is valid for a few minutes"},
        **documented(404, 409, 416, 422),
    },
)
async def get_study_file(study_id: StudyId, name: FileName, request: Request, viewer: Caller, context: Shared) -> Response:
    """Returns a file of the study. `report.html` needs no network and is shown sandboxed; the ETag is the file's SHA-256."""
    response = await serve_file(
        request, context, viewer, lambda session, who: service.file(session, study_id, name, who), prefix=f"{study_id}."
    )
    if name == "report.html" and response.status_code == 200:
        response.headers["Content-Security-Policy"] = SANDBOX
        response.headers["Content-Disposition"] = f'inline; filename="{study_id}.{name}"'
    return response
