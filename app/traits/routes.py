"""HTTP routes of traits: upload a dataset as JSON or as files, list, show, share and download."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Path, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app.auth.sharing import ShareRequest, Sharing
from app.auth.viewer import Viewer
from app.errors import invalid
from app.http.access import Caller, Member, keyed_router
from app.http.context import Context, Shared
from app.http.downloads import serve_named
from app.http.paging import Cursor, Limit
from app.http.problems import documented
from app.http.uploads import Form, checked, described, is_form, read_form, read_json, takes_files
from app.quotas.admission import check_upload
from app.settings import LimitSettings
from app.storage import staging
from app.storage.blobs import Blob
from app.traits import checks, files, readers, service
from app.traits.dataset import Dataset, build
from app.traits.schemas import REFERENCE, TraitDetail, TraitOut, TraitPage, TraitRequest
from terms.values import JsonField

router = keyed_router(prefix="/v1/traits", tag="traits")

Reference = Annotated[
    str,
    Path(
        pattern=REFERENCE,
        description="a trait's id, its name, or name@version with 8 or more digits of the version",
        examples=["refusal"],
    ),
]
FIELDS = {
    "name": "the name that requests use",
    "format": "format of the files; recognised from their content if you leave it out: " + ", ".join(readers.FORMATS),
    "seed": "seed of the draw of selection and test questions, if split.json does not split them",
    "visibility": "private, group or public; only administrators make public traits",
    "group": "one of your groups; only with the visibility group",
}
UPLOAD: JsonField = described(
    TraitRequest,
    FIELDS,
    file=f"the trait's files under their own names: {', '.join(files.KNOWN)}; or files of another format: {', '.join(readers.READERS)}; "
    "or one JSON file with the fields of the JSON body",
    required=["name"],
)
UPLOAD["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["format"]["enum"] = list(readers.FORMATS)
UPLOAD["requestBody"]["content"]["application/json"]["examples"] = {
    "smallest": {
        "summary": "Two prompts of each class and two questions; clusters and split are filled in",
        "value": {
            "name": "politeness",
            "definition": "How polite the answer is.\nHIGH: it thanks and asks kindly. LOW: it is curt.",
            "positive": ["Ask a colleague kindly for a report.", "Thank a neighbour for watering the plants."],
            "negative": ["Tell a colleague to hand over a report.", "Tell a neighbour to water the plants."],
            "steering": {"questions": ["How do I ask for a day off?", "What do I write to a late supplier?"]},
        },
    }
}


@router.post(
    "",
    operation_id="uploadTrait",
    summary="Upload a trait",
    status_code=201,
    response_model=TraitOut,
    responses={
        200: {"description": "You uploaded this content before: the trait it made", "model": TraitOut},
        201: {"headers": {"Location": {"description": "the trait", "schema": {"type": "string"}}}},
        **documented(400, 403, 413, 415, 422, 429, 507),
    },
    openapi_extra=UPLOAD,
)
@takes_files
async def upload_trait(request: Request, viewer: Member, context: Shared) -> Response:
    """Stores a trait, sent as JSON or as a form with the files of a trait folder. Each content is a separate version, named by its hash."""
    body: Form | TraitRequest = await read_form(request) if is_form(request) else await read_json(request, TraitRequest)
    trait, made = await uploaded(context, viewer, body)
    return JSONResponse(trait.model_dump(mode="json"), 201 if made else 200, headers={"Location": trait.links["self"]})


async def uploaded(context: Context, viewer: Viewer, body: Form | TraitRequest) -> tuple[TraitOut, bool]:
    """Checks and stores a trait; returns it and whether it is new. Raises Problem 403, 413, 422, 429, 507."""
    trait, dataset = await context.uploads.thread(_read, body, context.settings.limit)
    earlier = await context.database.run(service.stored, dataset, viewer, trait)
    if earlier is not None:
        return earlier, False
    await context.database.run(check_upload, viewer.owner, len(dataset.data))
    return await store(context, dataset, viewer, trait)


def _read(body: Form | TraitRequest, limits: LimitSettings) -> tuple[TraitRequest, Dataset]:
    """Returns the checked request and its dataset. Takes a second for the largest datasets, so it runs outside the event loop."""
    notes: list[str] = []
    compared: Callable[[str], str] = str
    if isinstance(body, Form):
        checks.check_files(body.files, limits)
        body, compared = _in_files(body, notes)
    checks.check(body, limits)
    dataset = build(body, notes, compared)
    checks.check_bytes(len(dataset.data), limits)
    return body, dataset


def _in_files(form: Form, notes: list[str]) -> tuple[TraitRequest, Callable[[str], str]]:
    """Returns the trait in a form's files, and its reader's `compared`; adds notes. Raises Problem 422."""
    fields = _fields(form)
    named = _format(fields.pop("format", None))
    whole = files.whole(form.files) if named is None else None
    if whole is not None:
        return checked({**whole, **fields}, TraitRequest), str
    head = checked({"positive": [], "negative": [], "steering": {"questions": []}, **fields}, TraitRequest)
    folder_files, compared = readers.as_folder(form.files, named, head.seed, notes)
    folder = files.read(head.name, folder_files, seed=head.seed)
    notes += folder.notes
    return folder.request.model_copy(update={name: getattr(head, name) for name in Sharing.model_fields}), compared


def _format(name: str | None) -> str | None:
    """Returns the requested format of the files, None if it is to be recognised. Raises Problem 422 for an unknown format."""
    if name is not None and name not in readers.FORMATS:
        detail = f"/format is {name[:40]!r}; it must be {', '.join(readers.FORMATS)}, or be left out: the server recognises it from the files."
        raise invalid("/format", "unknown_format", detail)
    return name


def _fields(form: Form) -> dict[str, str]:
    """Returns the form's fields. Raises Problem 422 for an unknown field."""
    unknown = sorted(form.fields.keys() - FIELDS.keys())
    if unknown:
        raise invalid(
            f"/{unknown[0]}", "unknown_field", f"The form has the field {unknown[0]!r}; it takes {', '.join(FIELDS)}, and files."
        )
    return dict(form.fields)


async def store(context: Context, dataset: Dataset, owner: Viewer, to: Sharing) -> tuple[TraitOut, bool]:
    """Stores the bytes and then the trait; returns it and whether it is new."""

    def add(session: Session, blob: Blob) -> tuple[TraitOut, bool]:
        return service.add(session, dataset, blob, owner, to)

    return await staging.store(context.database, context.storage, dataset.data, add, context.uploads.thread)


@router.get("", operation_id="listTraits", summary="List traits", responses=documented(422))
async def list_traits(
    viewer: Caller,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    name: Annotated[str | None, Query(max_length=100)] = None,
    owner: Annotated[str | None, Query(max_length=100)] = None,
) -> TraitPage:
    """Returns the traits that are yours or shared with you, newest first, one entry for each version."""

    return await TraitPage.newest(
        context,
        lambda session, before, count: service.listing(session, viewer, name=name, owner=owner, limit=count, before=before),
        scope=f"traits {name} {owner}",
        limit=limit,
        cursor=cursor,
        key=lambda trait: (trait.created_at, trait.id),
    )


@router.get("/{reference}", operation_id="getTrait", summary="Get a trait's facts and versions", responses=documented(404, 422))
async def get_trait(reference: Reference, viewer: Caller, context: Shared) -> TraitDetail:
    """Returns a version of a trait. A name means the newest version, and your own trait before a public one."""
    return await context.database.read(service.find, reference, viewer)


@router.patch(
    "/{reference}",
    operation_id="shareTrait",
    summary="Share a trait, or make it private",
    responses=documented(400, 403, 404, 413, 415, 422),
)
async def share_trait(reference: Reference, body: ShareRequest, viewer: Member, context: Shared) -> TraitOut:
    """Changes who may see a trait; for its owner and administrators. Everyone can use a public trait by its name, so only administrators make
    traits public."""
    return await context.database.run(service.change_sharing, reference, body, viewer)


@router.get(
    "/{reference}/dataset.json",
    operation_id="getTraitDataset",
    summary="Download a trait's dataset",
    response_class=Response,
    responses={
        200: {"description": "The dataset as jobs read it", "content": {"application/json": {"schema": {"type": "object"}}}},
        206: {"description": "The requested range"},
        304: {"description": "Not modified: you have this version"},
        307: {"description": "Redirect to the object store; the address is valid for a few minutes"},
        **documented(404, 416, 422),
    },
)
async def get_trait_dataset(reference: Reference, request: Request, viewer: Caller, context: Shared) -> Response:
    """Returns the dataset. The ETag is the file's SHA-256, which is also the trait's version."""
    return await serve_named(request, context, viewer, lambda session, who: service.file(session, reference, who))
