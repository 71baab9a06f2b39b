"""`GET /docs`: every request of the API, to read and to try. Readable without a key, like /openapi.json; a trial needs one."""

from fastapi import Request, Response

from app.pages.doors import open_to_all, page_router
from app.pages.rendering import POLICY, page

router = page_router()

DRAWINGS = POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""Swagger UI's style sheet holds its icons as data addresses. Scripts and styles stay as strict as on the other pages."""


@router.get("/docs")
@open_to_all
async def reference(request: Request) -> Response:
    """The API browser."""
    answer = page(request, "reference.jinja")
    answer.headers["Content-Security-Policy"] = DRAWINGS
    return answer
