"""`binnacle keys`: API keys, made beside the database by whoever may read its password. The text of a key is shown once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.output import Json, err, out, print_json
from app.client import BinnacleError
from app.client.address import home_folder

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

commands = typer.Typer(help="API keys; run this on the server.", no_args_is_help=True)


@commands.command()
def create(
    owner: Annotated[str, typer.Argument(help="Whose jobs the key makes and sees.")],
    role: Annotated[str, typer.Option(help="viewer, member or admin.")] = "member",
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; never when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from sqlalchemy import func, select

    from app.auth.keys import new_key

    if role not in {"viewer", "member", "admin"}:
        raise BinnacleError("bad_role", f"--role {role!r}: choose viewer, member or admin.")
    with _database() as (session, pepper):
        now = session.scalar(select(func.now()))
        made = new_key(owner, role, pepper, lifetime=timedelta(days=days), now=now) if days else new_key(owner, role, pepper)
        session.add(made.row)
        session.flush()
        if as_json:
            print_json({"id": made.row.id, "owner": owner, "role": role, "key": made.text})
        else:
            out.print(made.text, markup=False)


@commands.command("list")
def list_keys(as_json: Json = False) -> None:
    """List keys; never their text."""
    from sqlalchemy import select

    from app.auth.models import ApiKey

    fields = ("id", "owner", "role", "created_at", "expires_at", "revoked_at", "last_used_at")
    with _database() as (session, _):
        rows = [
            {field: str(value) if (value := getattr(key, field)) is not None else None for field in fields}
            for key in session.scalars(select(ApiKey).order_by(ApiKey.created_at))
        ]
    if as_json:
        print_json(rows)
        return
    table = Table(*fields, box=None)
    for row in rows:
        table.add_row(*((row[field] or "")[:19] for field in fields))
    out.print(table)


@commands.command()
def revoke(key: Annotated[str, typer.Argument(help="The key's id (binnacle keys list).")]) -> None:
    """Make a key useless, within seconds."""
    from sqlalchemy import func, update

    from app.auth.models import ApiKey

    with _database() as (session, _):
        done = session.scalar(
            update(ApiKey).where(ApiKey.id == key, ApiKey.revoked_at.is_(None)).values(revoked_at=func.now()).returning(ApiKey.id)
        )
    if done is None:
        raise BinnacleError("not_found", f"No key {key} is in use. See: binnacle keys list")
    err.print(f"{key} is revoked")


@contextmanager
def _database() -> Iterator[tuple["Session", str]]:
    """A transaction on the database of this machine's service, and the pepper of its keys."""
    from app.db import make_engine, make_sessions
    from app.embedded.home import Home

    folder = home_folder()
    running = Home(folder).running() if folder.is_dir() else None
    url = os.environ.get("DATABASE_URL") or (running.database_url if running else None)
    if url is None:
        raise BinnacleError("no_database", f"No service runs from {folder}. Start it with `binnacle up`, or set DATABASE_URL.")
    engine = make_engine(url, pool_size=1)
    try:
        with make_sessions(engine).begin() as session:
            yield session, os.environ.get("BINNACLE_KEY_PEPPER") or _pepper(folder)
    finally:
        engine.dispose()


def _pepper(folder: Path) -> str:
    try:
        return (folder / "pepper").read_text().strip()
    except OSError as error:
        raise BinnacleError("no_pepper", f"Set BINNACLE_KEY_PEPPER to the service's own; {folder} holds none.") from error
