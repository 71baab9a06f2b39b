"""Shows traits: the list, each trait with its counts, checks and versions, and uploads of a trait's folder or JSON."""

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse

from app.errors import Problem, invalid
from app.http.context import Shared
from app.http.downloads import serve_named
from app.http.uploads import Form, read_form, takes_files
from app.pages.doors import Changer, Reader, page_router
from app.pages.rendering import HEADERS, page
from app.pages.sending import refusal
from app.traits import service
from app.traits.routes import Reference, uploaded
from app.traits.schemas import TraitPage
from terms.values import JsonObject

router = page_router()

PER_PAGE = 50


@router.get("/traits")
async def traits_page(
    request: Request, viewer: Reader, context: Shared, cursor: Annotated[str | None, Query(max_length=500)] = None
) -> Response:
    """Shows every version of every trait that the viewer may see, newest first."""

    listed = await TraitPage.newest(
        context,
        lambda session, before, count: service.listing(session, viewer, name=None, owner=None, limit=count, before=before),
        scope="page traits",
        limit=PER_PAGE,
        cursor=cursor,
        key=lambda trait: (trait.created_at, trait.id),
    )
    return page(request, "traits.jinja", rows=listed.items, older=listed.next_cursor)


@router.get("/traits/new")
async def upload_form(request: Request, _viewer: Changer) -> Response:
    """Shows the form for a new trait."""
    return page(request, "trait_new.jinja", name="", problem=None)


@router.post("/traits/new")
@takes_files
async def upload(request: Request, viewer: Changer, context: Shared) -> Response:
    """Checks and stores the files, and redirects to the trait's page, which shows the notes on filled-in fields, and the counts."""
    form = await read_form(request)
    name = form.fields.get("name", "").strip()
    try:
        trait, _ = await uploaded(context, viewer, _upload(name, form))
    except (Problem, RequestValidationError) as error:
        problem = refusal(error)
        return page(request, "trait_new.jinja", problem.status, name=name, problem=problem)
    return RedirectResponse(f"/traits/{trait.reference}", 303, headers=HEADERS)


def _upload(name: str, form: Form) -> Form:
    """Returns the upload: the chosen files, and the name if one was entered. Raises Problem 422 if no file was chosen."""
    files = {path: data for path, data in form.files.items() if data}
    if not files:
        raise invalid("/files", "no_files", "Choose the files of a trait's folder, or one JSON file that holds the whole trait.")
    return Form(fields={"name": name} if name else {}, files=files)


@router.get("/traits/{reference}")
async def trait_page(reference: Reference, request: Request, viewer: Reader, context: Shared) -> Response:
    """Shows one version of a trait. 404 if the viewer may not see it."""
    trait = await context.database.read(service.find, reference, viewer)
    return page(request, "trait.jinja", trait=trait, counts=_counts(trait.counts))


def _counts(counts: JsonObject) -> list[tuple[str, str, str]]:
    """Returns rows and clusters of each part."""
    clusters = counts.get("clusters")
    of_part = clusters if isinstance(clusters, dict) else {}
    return [
        (name.replace("_", " "), f"{value:,}", str(of_part.get(name, "")))
        for name, value in counts.items()
        if isinstance(value, int)
    ]


@router.get("/traits/{reference}/dataset.json")
async def trait_file(reference: Reference, request: Request, viewer: Reader, context: Shared) -> Response:
    """Downloads the dataset of a trait. 404 if the viewer may not see the trait."""
    return await serve_named(request, context, viewer, lambda session, who: service.file(session, reference, who))
