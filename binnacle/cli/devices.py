"""`binnacle devices`: lists worker nodes, and pauses or drains them to free a card for notebooks."""

from typing import Annotated

import typer
from rich.text import Text

from binnacle.board import Worker
from binnacle.cli.connecting import connected
from binnacle.cli.live import duration
from binnacle.cli.output import Json, out, print_json
from binnacle.cli.terminal import Listing, styled
from binnacle.client import Client
from binnacle.errors import BinnacleError

commands = typer.Typer(help="Worker nodes and their devices; only administrators pause and drain them.", no_args_is_help=True)
Device = Annotated[str, typer.Argument(help="A worker's id, or its beginning (`binnacle devices list`).")]
Reason = Annotated[str | None, typer.Option(help="The reason, shown to other users.")]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="Resume automatically after this many minutes.")]


@commands.command("list")
def list_devices(as_json: Json = False) -> None:
    """List worker nodes, their models, and who paused them."""
    with connected() as client:
        workers = client.devices()
    if as_json:
        print_json(workers)
        return
    table = Listing("worker", "class", "device", "models loaded", "busy with", "standing")
    for worker in workers:
        busy = worker["busy_with"] or ""
        table.add_row(worker["id"], worker["job_class"], worker["device"], ", ".join(worker["models"]), busy, standing(worker))
    out.print(table)


@commands.command()
def pause(device: Device, reason: Reason = None, minutes: Minutes = None, as_json: Json = False) -> None:
    """Pause a worker: it finishes its job, unloads its models and starts no new job."""
    _hold(device, "pause", reason, minutes, as_json=as_json)


@commands.command()
def drain(device: Device, reason: Reason = None, minutes: Minutes = None, as_json: Json = False) -> None:
    """Drain a worker: its job returns to the queue at the next boundary, and it starts no new job."""
    _hold(device, "drain", reason, minutes, as_json=as_json)


@commands.command()
def resume(device: Device, as_json: Json = False) -> None:
    """Resume a paused or drained worker."""
    with connected() as client:
        _say(client.resume_device(worker_id_of(client, device)), as_json=as_json)


def _hold(device: str, mode: str, reason: str | None, minutes: float | None, *, as_json: bool) -> None:
    with connected() as client:
        _say(client.hold_device(worker_id_of(client, device), mode, reason=reason, minutes=minutes), as_json=as_json)


def worker_id_of(client: Client, device: str) -> str:
    """Returns the id of the worker with this id or prefix. Raises BinnacleError if there is none, or several."""
    ids = [worker["id"] for worker in client.devices()]
    matching = [device] if device in ids else [worker_id for worker_id in ids if device and worker_id.startswith(device)]
    if len(matching) != 1:
        which = "No worker is" if not matching else "Several workers are"
        raise BinnacleError("which_device", f"{which} called {device!r}. There are: {', '.join(ids) or 'none'}.")
    return matching[0]


def standing(device: Worker) -> Text:
    """Returns why a worker claims no jobs, for a table; empty if it claims jobs."""
    hold, blocked = device["hold"], device["blocked"]
    lost = "" if device["alive"] else f"lost, last seen {duration(device['seen_seconds_ago'])} ago"
    if hold:
        until = f" until {hold['until'][:16]}" if hold["until"] else ""
        held = f"{hold['mode']} by {hold['by']}{until}" + (f": {hold['reason']}" if hold["reason"] else "")
        return styled(f"{lost}; {held}" if lost else held, "red" if lost else "")
    if lost:
        return styled(lost, "red")
    return styled(blocked["detail"] if blocked else "", "red")


def _say(device: Worker, *, as_json: bool) -> None:
    if as_json:
        print_json(device)
        return
    busy = f"; it is still running {device['busy_with']}" if device["busy_with"] and device["hold"] else ""
    out.print(f"{device['id']} {standing(device) or 'claims jobs'}{busy}")
