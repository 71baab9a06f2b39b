"""Routes of judges. Everyone with a key can read the list; administrators change it."""

from typing import Annotated

from fastapi import Body, Path, Response

from app.http.access import Admin, Caller, keyed_router
from app.http.context import Shared
from app.http.problems import documented
from app.judges import service
from app.judges.schemas import NAME, JudgeList, JudgeOut, JudgeRequest

router = keyed_router(prefix="/v1/judges", tag="judges")

EXAMPLE = {
    "name": "gpt-4.1-mini",
    "kind": "openai",
    "model": "gpt-4.1-mini",
    "url": "https://api.openai.com/v1",
    "key_env": "OPENAI_API_KEY",
}


@router.get("", operation_id="listJudges", summary="List judges", responses=documented())
async def list_judges(_viewer: Caller, context: Shared) -> JudgeList:
    """Returns the judges: `reference` and `refusal-phrases` first, then the others by name. Keys are not stored and never shown."""
    return await context.database.read(service.listing)


@router.post(
    "",
    operation_id="addJudge",
    summary="Add a judge",
    status_code=201,
    responses=documented(400, 403, 409, 413, 415, 422),
)
async def add_judge(body: Annotated[JudgeRequest, Body(examples=[EXAMPLE])], viewer: Admin, context: Shared) -> JudgeOut:
    """Adds a judge: an OpenAI-compatible endpoint, or a registered model. Administrators only: answers are sent to it."""
    return await context.database.run(service.add, body, viewer, await service.addresses_of(body))


@router.delete(
    "/{name}",
    operation_id="deleteJudge",
    summary="Delete a judge",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404, 409, 422),
)
async def delete_judge(name: Annotated[str, Path(pattern=NAME)], viewer: Admin, context: Shared) -> None:
    """Deletes the judge; jobs that were submitted with it keep it. Administrators only."""
    await context.database.run(service.delete, name, viewer)
