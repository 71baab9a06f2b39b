"""`binnacle quotas` and `binnacle usage`: what users may have, and what they use."""

import re
from typing import Annotated, Any

import typer
from rich.table import Table

from binnacle.cli.connecting import connected
from binnacle.cli.live import duration
from binnacle.cli.output import Json, err, out, print_json
from binnacle.cli.terminal import Listing
from binnacle.errors import BinnacleError

commands = typer.Typer(help="Limits on each user's jobs, device time and storage.", no_args_is_help=True)

User = Annotated[str, typer.Argument(help="A user's name.")]
FIELDS = {
    "max_queued": "jobs queued",
    "max_running": "jobs on devices",
    "device_seconds_per_day": "device seconds a day",
    "stored_bytes": "bytes stored",
}
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@commands.command("list")
def list_quotas(as_json: Json = False) -> None:
    """List the server-wide quota and those of single users; for administrators."""
    with connected() as client:
        quotas = client.quotas()
    if as_json:
        print_json(quotas)
        return
    table = Table("user", *FIELDS.values(), box=None)
    for quota in [quotas["default"], *quotas["items"]]:
        table.add_row(quota["user"] or "everybody", *_cells(quota["limits"]))
    out.print(table)


@commands.command()
def show(user: User, as_json: Json = False) -> None:
    """Show a user's limits."""
    with connected() as client:
        _say(client.quota(user), as_json=as_json)


@commands.command("set")
def set_quota(
    user: Annotated[str | None, typer.Argument(help="A user's name; --everybody for the server-wide quota.")] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="The server-wide quota, for users without limits of their own.")
    ] = False,
    queued: Annotated[str | None, typer.Option(help="Jobs queued: a number, unlimited, or default.")] = None,
    running: Annotated[str | None, typer.Option(help="Jobs on devices at once: a number, unlimited, or default.")] = None,
    device_seconds: Annotated[
        str | None, typer.Option(help="Device seconds a day (UTC): a number, unlimited, or default.")
    ] = None,
    stored: Annotated[
        str | None, typer.Option("--bytes", help="Bytes stored: a number (20G and 500M work too), unlimited, or default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set limits; the others stay unchanged. For administrators."""
    if (user is None) != everybody:
        raise BinnacleError("which_quota", "Name a user, or give --everybody for the server-wide quota.")
    given = dict(zip(FIELDS, (queued, running, device_seconds, stored), strict=True))
    if all(value is None for value in given.values()):
        raise BinnacleError("nothing_to_set", "Name a limit: --queued, --running, --device-seconds or --bytes.")
    changes = {field: _limit(value) for field, value in given.items() if value is not None}
    with connected() as client:
        now = client.quotas()["default"] if user is None else client.quota(user)
        _say(client.set_quota(user, **{**now["said"], **changes}), as_json=as_json)


@commands.command()
def reset(user: User) -> None:
    """Remove a user's own quota; the server-wide one applies again. For administrators."""
    with connected() as client:
        client.remove_quota(user)
    err.print(f"{user} has the server-wide quota again")


def usage(
    user: Annotated[str | None, typer.Option(help="Only this user; administrators see every user when left out.")] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="Number of days, today included.")] = 30,
    by_day: Annotated[bool, typer.Option("--by-day", help="Also show device time by day.")] = False,
    as_json: Json = False,
) -> None:
    """Show use of disk and devices by user."""
    with connected() as client:
        use = client.usage(user, days)
    if as_json:
        print_json(use)
        return
    table = Listing("user", "stored", "of it shared", "queued", "running", "devices today", f"in {days} days")
    for row in use["items"]:
        times = [_time(row[name], limit) for name, limit in _times(row)]
        limits = row["limits"]
        stored, queued = _of(size(row["stored_bytes"]), limits["stored_bytes"], size), _of(row["queued"], limits["max_queued"])
        running = _of(row["running"], limits["max_running"])
        shared = "-" if row["shared_bytes"] is None else size(row["shared_bytes"])
        table.add_row(row["user"], stored, shared, queued, running, *times)
    out.print(table)
    if by_day:
        days_table = Listing("user", "day", "device time", "attempts")
        for row in use["items"]:
            for day in row["days"]:
                days_table.add_row(row["user"], day["day"], _time(day["device_seconds"]), str(day["attempts"]))
        out.print(days_table)
    if use["on_disk_bytes"] is not None:
        out.print(
            f"{size(use['on_disk_bytes'])} on disk: a file that several users refer to counts for each of them and is stored once"
        )
    out.print(f"daily quotas reset at {use['resets_at'][:16].replace('T', ' ')} UTC")


def size(count: float) -> str:
    """Returns a size as `0 B`, `1.5 kB`, `20.0 GB`."""
    for unit, factor in reversed(UNITS.items()):
        if unit and count >= factor:
            return f"{count / factor:.1f} {unit}B"
    return f"{count:.0f} B"


def _times(row: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [("device_seconds_today", row["limits"]["device_seconds_per_day"]), ("device_seconds", None)]


def _time(seconds: float, limit: int | None = None) -> str:
    said = duration(seconds) if seconds else "0 s"
    return said if limit is None else f"{said} of {duration(limit) if limit else '0 s'}"


def _of(value: Any, limit: int | None, shown: Any = str) -> str:
    return str(value) if limit is None else f"{value} of {shown(limit)}"


def _limit(text: str) -> int | str | None:
    """Returns the API's value for `200`, `20G`, `unlimited` or `default`. Raises BinnacleError for other text."""
    if text in ("unlimited", "default"):
        return None if text == "default" else text
    match = re.fullmatch(r"(\d+)([kMGT]?)B?", text)
    if match is None:
        raise BinnacleError(
            "bad_limit", f"{text!r} is not a limit: give a number (20G and 500M are understood), unlimited, or default."
        )
    return int(match[1]) * UNITS[match[2]]


def _say(quota: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(quota)
        return
    limits = ", ".join(f"{name} {cell}" for name, cell in zip(FIELDS.values(), _cells(quota["limits"]), strict=True))
    out.print(f"{quota['user'] or 'everybody'}: {limits}")


def _cells(limits: dict[str, int | None]) -> list[str]:
    shown = {"stored_bytes": size}
    return ["unlimited" if (value := limits[name]) is None else shown.get(name, "{:,}".format)(value) for name in FIELDS]
