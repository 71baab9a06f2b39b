"""HTTP route that imports vectors: a form with the file, or JSON with the file in base64."""

from collections.abc import Sequence

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.errors import invalid
from app.extractions import imports
from app.extractions.import_schemas import ImportedOut, ImportFields, ImportRequest
from app.extractions.models import Vector
from app.extractions.results import vector_view
from app.http.access import Member, keyed_router
from app.http.context import Context, Shared
from app.http.problems import documented
from app.http.uploads import checked, described, is_form, read_form, read_json, takes_files
from app.storage import staging
from app.storage.blobs import Blob
from terms.values import JsonField

router = keyed_router(prefix="/v1/vectors", tag="vectors")

FIELDS = {name: str(told.get("description", name)) for name, told in ImportFields.model_json_schema()["properties"].items()}
BODY: JsonField = described(ImportRequest, FIELDS, file="one file: safetensors, .npy or GGUF", required=["model"])


@router.post(
    "",
    operation_id="importVectors",
    summary="Import vectors",
    status_code=201,
    response_model=ImportedOut,
    responses={
        200: {"description": "You imported this file with these labels before: the vectors it made", "model": ImportedOut},
        **documented(400, 403, 413, 415, 422, 429, 507),
    },
    openapi_extra=BODY,
)
@takes_files
async def import_vectors(request: Request, viewer: Member, context: Shared) -> Response:
    """Checks the file against the model and stores its vectors, scaled to norm 1 and marked as imported. Pickles (`.pt`) are never read."""
    fields, data = await _body(request, context)
    to = await context.database.run(imports.target, fields, viewer)
    wanted = await context.uploads.thread(imports.read, fields, data, to, context.settings.limit.vectors)
    await context.database.run(imports.check_quota, wanted, viewer.owner)
    imported, made = await _store(context, wanted, viewer, fields)
    return JSONResponse(imported.model_dump(mode="json"), 201 if made else 200)


async def _body(request: Request, context: Context) -> tuple[ImportFields, bytes]:
    if not is_form(request):
        body = await read_json(request, ImportRequest)
        return body, await context.uploads.thread(body.content)
    form = await read_form(request)
    if len(form.files) != 1:
        raise invalid("/file", "one_file", f"The form holds {len(form.files)} files; vectors are imported one file at a time.")
    return checked(form.fields, ImportFields), next(iter(form.files.values()))


async def _store(context: Context, wanted: imports.Import, viewer: Viewer, to: Sharing) -> tuple[ImportedOut, bool]:
    def add(session: Session, blob: Blob) -> tuple[Sequence[Vector], bool]:
        return imports.add(session, wanted, blob, viewer, to)

    rows, made = await staging.store(context.database, context.storage, wanted.data, add, context.uploads.thread)
    return ImportedOut(items=[vector_view(row, None) for row in rows]), made
