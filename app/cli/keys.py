"""`binnacle keys`: makes, lists, rotates and revokes API keys directly in the service's database, without the API.

An account of the server that can read the database's URL and the pepper may do this. The text of a key is shown once.
"""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from app.cli.own_database import service_database
from binnacle import BinnacleError
from binnacle.address import home_folder
from binnacle.cli.output import Json, err, out, print_json
from terms.values import Json as JsonValue

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from app.accounts.schemas import NewKeyOut
    from app.auth.viewer import Viewer

Model = TypeVar("Model", bound="BaseModel")

commands = typer.Typer(help="API keys; run this on the server.", no_args_is_help=True)
KeyId = Annotated[str, typer.Argument(help="The key's id (binnacle keys list).")]
Days = Annotated[int | None, typer.Option(min=1, help="Days until the key expires.")]


@commands.command()
def create(
    owner: Annotated[str, typer.Argument(help="The user the key acts for.")],
    role: Annotated[str, typer.Option(help="viewer, member or admin.")] = "member",
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="read, submit or admin; may be repeated. Everything the role allows when left out."),
    ] = None,
    days: Days = None,
    label: Annotated[str | None, typer.Option(help="Where the key is used, such as laptop or nightly runs.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it once. The user OWNER is created if it does not exist."""
    from app.accounts import keys
    from app.accounts.schemas import KeyRequest

    if role not in {"viewer", "member", "admin"}:
        raise BinnacleError("bad_role", f"--role {role!r}: choose viewer, member or admin.")
    request = _checked(KeyRequest, owner=owner, role=role, scopes=scopes or None, days=days, label=label)
    with _database() as session:
        made = keys.create(session, request, _operator(), _pepper())
        others = [key for key in keys.listing(session, owner=owner, live=True) if key.role != made.role]
    for key in others:
        err.print(
            f"{owner} still has a key with the role {key.role}. If the new key replaces it, run: binnacle keys revoke {key.id}"
        )
    _show(made, as_json=as_json)


@commands.command("list")
def list_keys(
    owner: Annotated[str | None, typer.Option(help="Only keys of this user.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only keys that are neither revoked nor expired.")] = False,
    as_json: Json = False,
) -> None:
    """List keys, newest first, without their text."""
    from app.accounts import keys

    with _database() as session:
        rows = [key.model_dump(mode="json", exclude={"links"}) for key in keys.listing(session, owner=owner, live=live)]
    if as_json:
        print_json(rows)
        return
    fields = ("id", "owner", "role", "scopes", "label", "live", "created_at", "expires_at", "last_used_at")
    table = Table(*fields, box=None)
    for row in rows:
        table.add_row(*(_cell(field, row[field]) for field in fields))
    out.print(table)


@commands.command()
def rotate(
    key: KeyId,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key stays valid.")] = 24,
    days: Days = None,
    as_json: Json = False,
) -> None:
    """Rotate a key: make a new key with the same user, role and scopes and show it once; the old key ends after the overlap."""
    from app.accounts import keys
    from app.accounts.schemas import RotateRequest

    request = _checked(RotateRequest, overlap_hours=overlap_hours, days=days)
    with _database() as session:
        made = keys.rotate(session, key, request, _operator(), _pepper())
    err.print(f"{key} stays valid for {overlap_hours:g} more hours at most; replace it with the new key before then")
    _show(made, as_json=as_json)


@commands.command()
def revoke(key: KeyId) -> None:
    """Revoke a key: it stops working within seconds."""
    from app.accounts import keys

    with _database() as session:
        keys.revoke(session, key, _operator())
    err.print(f"{key} is revoked")


def _show(made: "NewKeyOut", *, as_json: bool) -> None:
    """Prints a new key; without `as_json`, only the key itself goes to the standard output."""
    if as_json:
        print_json(made.model_dump(mode="json", exclude={"links"}))
    else:
        err.print(f"a key of {made.owner}, shown only once:")
        out.print(made.key)


def _cell(field: str, value: JsonValue) -> str:
    """Returns the text of a value in the table; times are shown to the second."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(entry) for entry in value)
    return str(value or "")[: 19 if field.endswith("_at") else None]


def _checked(model: type[Model], **values: JsonValue) -> Model:
    """Returns the request of these values. Raises BinnacleError `bad_option`, which names the first option that is not valid."""
    from pydantic import ValidationError

    from app.refusals import sentence

    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("scopes", "scope").replace("_", "-")
        raise BinnacleError("bad_option", f"{option}: {sentence(first)}") from error


def _operator() -> "Viewer":
    """Returns the caller, with an administrator's rights: `cli:` and the account's name on this machine, as the audit shows it."""
    from app.auth.viewer import Viewer

    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        account = str(os.getuid())
    return Viewer(owner=f"cli:{account}"[:100], role="admin")


@contextmanager
def _database() -> Iterator["Session"]:
    """Opens a transaction on the database of this machine's service. Raises each Problem as a BinnacleError."""
    from app.errors import Problem

    try:
        with service_database() as session:
            yield session
    except Problem as problem:
        raise BinnacleError(problem.code, problem.detail) from problem


def _pepper() -> str:
    """Returns the secret of the HMACs of keys, from the environment or the data folder. Raises BinnacleError `no_pepper`."""
    if given := os.environ.get("BINNACLE_KEY_PEPPER"):
        return given
    folder = home_folder()
    try:
        return (folder / "pepper").read_text().strip()
    except OSError as error:
        raise BinnacleError(
            "no_pepper", f"Set BINNACLE_KEY_PEPPER to the service's pepper; {folder} does not hold it."
        ) from error
