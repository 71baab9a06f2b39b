"""What a route depends on is a coroutine. FastAPI sends any other callable to its thread pool: a tenth of a small request's CPU."""

import inspect
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.main import create_app
from app.settings import Settings


def dependants(one: Dependant) -> Iterator[Dependant]:
    """All dependencies below this one."""
    for below in one.dependencies:
        yield below
        yield from dependants(below)


def test_no_dependency_goes_through_the_thread_pool(settings: Settings) -> None:
    asked = {
        below.call
        for context in iter_route_contexts(create_app(settings).routes)
        if isinstance(context.original_route, APIRoute)
        for below in dependants(context.original_route.dependant)
    }
    assert len(asked) > 5
    assert {
        call for call in asked if not inspect.iscoroutinefunction(call) and not inspect.iscoroutinefunction(call.__call__)
    } == set()
