"""Generations over HTTP: a few prompts, a few vectors, a few doses, no judge."""

from typing import Annotated

from fastapi import Body, Path, Query, Response
from fastapi.openapi.models import Example

from app.generations import service
from app.generations.schemas import GenerationOut, GenerationRequest, PricedGeneration
from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.problems import documented
from app.jobs.asking import Asks, Reuse, creates_job

router = keyed_router(prefix="/v1/generations", tag="generations")

EXAMPLES: dict[str, Example] = {
    "one vector": {
        "summary": "One prompt, one vector, three doses",
        "value": {
            "model": "demo-severe",
            "prompts": ["How do I bake bread?"],
            "vectors": ["vec_01k9zq3m4e8v6t2y5w7x9abcde"],
            "doses": [0.25, 0.5, 1.0],
        },
    },
}
JobId = Annotated[str, Path(pattern=r"^job_[0-9a-z]{26}$", examples=["job_01k9zq3m4e8v6t2y5w7x9abcde"])]


@router.post(
    "",
    operation_id="submitGeneration",
    summary="Submit a generation",
    **creates_job(
        413,
        415,
        job="the job",
        cost=PricedGeneration,
        answers_200="dry_run: the number of answers. reuse: the finished job, named in Binnacle-Reused",
    ),
)
async def submit_generation(
    body: Annotated[GenerationRequest, Body(openapi_examples=EXAMPLES)],
    asks: Asks,
    dry_run: Annotated[bool, Query(description="only check the request and count its answers")] = False,
    reuse: Reuse = False,
) -> Response:
    """Makes a job that answers the prompts unsteered and under each vector at each dose. This takes seconds on a loaded model; the
    answers are not judged."""
    if dry_run:
        return await asks.priced(service.estimate, body)
    return await asks.submitted(service.submit, body, reuse)


@router.get("/{job_id}", operation_id="getGeneration", summary="The answers of a generation", responses=documented(404, 409, 422))
async def get_generation(job_id: JobId, viewer: Caller, context: Shared) -> GenerationOut:
    """Returns the answers of a finished generation: unsteered first, then vector by vector and dose by dose."""
    return await context.database.read(service.find, job_id, viewer)
