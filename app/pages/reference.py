"""Serves `GET /docs`: every request of the API, to read and to try out. Reading needs no key, like /openapi.json; trying needs a key."""

from fastapi import Request, Response

from app.pages.doors import open_to_all, page_router
from app.pages.rendering import POLICY, page

router = page_router()

DRAWINGS = POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""Content security policy for Swagger UI: its style sheet contains icons as data addresses. Scripts and styles stay as strict as on other
pages.
"""


@router.get("/docs")
@open_to_all
async def reference(request: Request) -> Response:
    """Shows the API browser."""
    answer = page(request, "reference.jinja")
    answer.headers["Content-Security-Policy"] = DRAWINGS
    return answer
