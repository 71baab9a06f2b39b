"""Routes of devices. Everyone with a key can see them; administrators pause, drain and resume them."""

from typing import Annotated

from fastapi import Body, Path
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.devices import service
from app.devices.schemas import HoldRequest
from app.http.access import Admin, Caller, keyed_router
from app.http.context import Context, Shared
from app.http.problems import documented
from app.status import repository
from app.status.schemas import WorkerOut

router = keyed_router(prefix="/v1/devices", tag="devices")

Device = Annotated[str, Path(pattern=r"^[\w.@:-]{1,120}$", description="a worker node's id", examples=["model-0@gpu-server"])]
Request = Annotated[HoldRequest, Body(examples=[{"reason": "notebook until lunch", "minutes": 120}])]
UNTIL_RESUMED = HoldRequest()
REFUSALS = documented(400, 403, 404, 413, 415, 422)


class DeviceList(BaseModel):
    """The worker nodes seen within a day."""

    items: list[WorkerOut]


@router.get("", operation_id="listDevices", summary="Worker nodes, their devices, and who paused them", responses=documented())
async def list_devices(viewer: Caller, context: Shared) -> DeviceList:
    """Returns the worker nodes, including those that are paused, drained or out of disk space."""
    return DeviceList(items=await context.database.read(_listed, context, viewer))


@router.post("/{device}/pause", operation_id="pauseDevice", summary="Pause a device: claim no new job", responses=REFUSALS)
async def pause_device(device: Device, viewer: Admin, context: Shared, body: Request = UNTIL_RESUMED) -> WorkerOut:
    """Pauses the device: it finishes its current job and claims no other; then its models leave the device's memory. Administrators only."""

    def pause(session: Session) -> WorkerOut:
        service.hold(session, device, viewer, body, "paused")
        return _one(session, context, viewer, device)

    return await context.database.run(pause)


@router.post(
    "/{device}/drain", operation_id="drainDevice", summary="Drain a device: return its job to the queue", responses=REFUSALS
)
async def drain_device(device: Device, viewer: Admin, context: Shared, body: Request = UNTIL_RESUMED) -> WorkerOut:
    """Drains the device: its current job returns to the queue at its next boundary, with its finished parts, unless it ends
    earlier. Administrators only."""

    def drain(session: Session) -> WorkerOut:
        service.hold(session, device, viewer, body, "draining")
        return _one(session, context, viewer, device)

    return await context.database.run(drain)


@router.post("/{device}/resume", operation_id="resumeDevice", summary="Resume a device", responses=documented(403, 404, 422))
async def resume_device(device: Device, viewer: Admin, context: Shared) -> WorkerOut:
    """Lets the device claim jobs again, at once. Administrators only."""

    def resume(session: Session) -> WorkerOut:
        service.resume(session, device, viewer)
        return _one(session, context, viewer, device)

    return await context.database.run(resume)


def _listed(session: Session, context: Context, viewer: Viewer) -> list[WorkerOut]:
    return repository.workers(session, viewer, lease_seconds=context.settings.lease.ttl)


def _one(session: Session, context: Context, viewer: Viewer, device: str) -> WorkerOut:
    session.flush()
    return repository.worker(session, viewer, device, lease_seconds=context.settings.lease.ttl)
