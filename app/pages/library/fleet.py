"""Shows the fleet to administrators: workers with problems first, then devices, queues and users; pause, drain and resume."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from fastapi import Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.devices import service as devices
from app.devices.schemas import HoldRequest
from app.errors import Problem
from app.etags import etag_of, names_etag
from app.http.context import Context, Shared
from app.http.uploads import checked
from app.pages.doors import Administrator, page_router
from app.pages.rendering import HEADERS, page, text_of
from app.pages.sending import refusal, sent
from app.pages.wording import age, size
from app.quotas import usage
from app.quotas.usage_schemas import UsageOut, UserUsage
from app.status import repository as status
from app.status.device_routes import Device
from app.status.schemas import QueueOut, WorkerOut
from terms.values import Json

router = page_router()

DAYS = 7
Action = Annotated[Literal["pause", "drain", "resume"], Path()]
MODES: dict[str, Literal["paused", "draining"]] = {"pause": "paused", "drain": "draining"}
ACTIONS = {
    "pause": ("Pause this worker?", "It finishes the job it has, takes no further one, and frees its device's memory.", "Pause"),
    "drain": (
        "Drain this worker?",
        "The job it has goes back to the queue at its next boundary, with what it had finished.",
        "Drain",
    ),
    "resume": ("Resume this worker?", "It takes jobs again at once.", "Resume"),
}


@dataclass(frozen=True)
class Row:
    """A worker, what it does with the style of these words, and its memory in words."""

    worker: WorkerOut
    state: tuple[str, str]
    memory: str


class Fleet(TypedDict):
    """What `fleet_part.jinja` shows: the workers, the queue, the use by each user of the last `days`, and the bytes on the disk."""

    rows: list[Row]
    queues: list[QueueOut]
    users: list[UserUsage]
    on_disk: int
    days: int


class Hold(TypedDict):
    """What `hold.jinja` shows. `question`: title, effect and button; `values`: the texts of the form."""

    worker: WorkerOut
    action: str
    question: tuple[str, str, str]
    values: dict[str, str]
    problem: Problem | None


@router.get("/fleet")
async def fleet_page(request: Request, viewer: Administrator, context: Shared) -> Response:
    """Shows the page of the worker nodes."""
    return page(request, "fleet.jinja", etag="", **await _shown(context, viewer))


@router.get("/parts/fleet")
async def fleet_part(request: Request, viewer: Administrator, context: Shared) -> Response:
    """Returns the part of the workers' page that changes; 304 when the browser has the current version."""
    shown = await _shown(context, viewer)
    etag = etag_of(text_of(request, "fleet_part.jinja", etag="", **shown).encode())
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={**HEADERS, "ETag": etag})
    answer = page(request, "fleet_part.jinja", etag=etag, **shown)
    answer.headers["ETag"] = etag
    return answer


@router.get("/fleet/{device}/{action}")
async def ask(device: Device, action: Action, request: Request, viewer: Administrator, context: Shared) -> Response:
    """Asks, before a worker is paused, drained or resumed, for confirmation, a reason and a duration."""
    return page(request, "hold.jinja", **await _held(context, viewer, device, action, {}))


@router.post("/fleet/{device}/{action}")
async def act(device: Device, action: Action, request: Request, viewer: Administrator, context: Shared) -> Response:
    """Pauses, drains or resumes the worker, and redirects to the workers' page."""
    values = {name: given[0].strip() for name, given in (await sent(request)).items()}

    def work(session: Session) -> None:
        if action == "resume":
            devices.resume(session, device, viewer)
        else:
            devices.hold(session, device, viewer, _hold(values), MODES[action])

    try:
        await context.database.run(work)
    except (Problem, RequestValidationError) as error:
        problem = refusal(error)
        return page(request, "hold.jinja", problem.status, **await _held(context, viewer, device, action, values, problem))
    return RedirectResponse("/fleet", 303, headers=HEADERS)


async def _held(
    context: Context, viewer: Viewer, device: str, action: Action, values: dict[str, str], problem: Problem | None = None
) -> Hold:
    worker = await context.database.read(status.worker, viewer, device, lease_seconds=context.settings.lease.ttl)
    return {"worker": worker, "action": action, "question": ACTIONS[action], "values": values, "problem": problem}


def _hold(values: dict[str, str]) -> HoldRequest:
    minutes: float | str | None = values.get("minutes") or None
    with contextlib.suppress(ValueError):  # the validation reports an invalid word
        minutes = None if minutes is None else float(minutes)
    return checked({"reason": values.get("reason") or None, "minutes": minutes}, HoldRequest, strict=True)


def _workers(session: Session, context: Context, viewer: Viewer) -> list[WorkerOut]:
    return status.workers(session, viewer, lease_seconds=context.settings.lease.ttl)


async def _shown(context: Context, viewer: Viewer) -> Fleet:
    def look(session: Session) -> tuple[list[WorkerOut], list[QueueOut], UsageOut]:
        users = usage.usage(session, viewer, user=None, days=DAYS)
        return in_order(_workers(session, context, viewer)), status.queues(session), users

    workers, queues, users = await context.database.read(look)
    return {
        "rows": [Row(worker, state(worker), memory(worker.memory)) for worker in workers],
        "queues": queues,
        "users": users.items,
        "on_disk": users.on_disk_bytes or 0,
        "days": DAYS,
    }


def in_order(workers: Sequence[WorkerOut]) -> list[WorkerOut]:
    """Sorts workers: silent ones first, then those without disk space, then held ones; the rest by device."""
    return sorted(
        workers,
        key=lambda worker: (worker.alive, worker.blocked is None, worker.hold is None, worker.host, worker.device, worker.id),
    )


def state(worker: WorkerOut) -> tuple[str, str]:
    """Returns what the worker does, and its style."""
    if not worker.alive:
        return f"silent for {age(worker.seen_seconds_ago)}", "failed"
    if worker.blocked is not None:
        return worker.blocked.detail, "failed"
    if worker.hold is not None:
        until = "" if worker.hold.until is None else f" until {worker.hold.until:%H:%M} UTC"
        why = "" if not worker.hold.reason else f": {worker.hold.reason}"
        return f"{worker.hold.mode} by {worker.hold.by}{until}{why}", "cancelled"
    return ("working", "running") if worker.busy_with is not None else ("free", "succeeded")


def memory(facts: Mapping[str, Json]) -> str:
    """Returns the memory in words: `models 3.1 GB, 20 GB of 24 GB free`; empty if the worker reported none."""
    sizes = {name: size(value) for name, value in facts.items() if isinstance(value, int)}
    parts = [f"models {sizes['models']}"] if "models" in sizes else []
    if "device_free" in sizes:
        parts.append(f"{sizes['device_free']} of {sizes['device_total']} free")
    elif "device_total" in sizes:
        parts.append(f"{sizes['device_total']} in all")
    return ", ".join(parts)
