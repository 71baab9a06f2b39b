"""`binnacle users`, `binnacle groups`, `binnacle whoami`: who may use the service, and who shares with whom."""

from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, err, out, print_json
from binnacle.cli.terminal import Listing

users = typer.Typer(help="Users; for administrators. Keys are made by `binnacle keys`.", no_args_is_help=True)
groups = typer.Typer(help="Groups that share jobs and results; for administrators.", no_args_is_help=True)
User = Annotated[str, typer.Argument(metavar="USER", help="A user's name.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="A group's name.")]


def whoami(as_json: Json = False) -> None:
    """Show the user of your key, and what the key may do."""
    with connected() as client:
        me = client.me()
    if as_json:
        print_json(me)
        return
    scopes, in_groups = ", ".join(me["scopes"]), ", ".join(me["groups"]) or "no group"
    out.print(f"{me['owner']} ({me['role']}), key {me['key_id'] or 'none'}: {scopes}; in {in_groups}")


@users.command("list")
def list_users(as_json: Json = False) -> None:
    """List users, their groups and their number of live keys."""
    with connected() as client:
        all_users = client.admin.users()
    if as_json:
        print_json(all_users)
        return
    table = Listing("user", "groups", "live keys", "made by", "disabled since")
    for user in all_users:
        since = (user["disabled_at"] or "")[:19]
        table.add_row(user["name"], ", ".join(user["groups"]), str(user["live_keys"]), user["created_by"], since)
    out.print(table)


@users.command("create")
def create_user(user: User) -> None:
    """Make a user; `binnacle keys create` does this too."""
    with connected() as client:
        client.admin.create_user(user)
    err.print(f"{user} was added. Make a key: binnacle keys create {user}")


@users.command()
def disable(user: User) -> None:
    """Disable a user: the user's keys stop working within seconds; jobs and results stay."""
    with connected() as client:
        client.admin.disable_user(user)
    err.print(f"{user} is disabled")


@users.command()
def enable(user: User) -> None:
    """Undo `disable`."""
    with connected() as client:
        client.admin.disable_user(user, disabled=False)
    err.print(f"{user} is enabled")


@groups.command("list")
def list_groups(as_json: Json = False) -> None:
    """List groups and their members."""
    with connected() as client:
        all_groups = client.admin.groups()
    if as_json:
        print_json(all_groups)
        return
    table = Listing("group", "members")
    for group in all_groups:
        table.add_row(group["name"], ", ".join(group["members"]))
    out.print(table)


@groups.command("create")
def create_group(group: Group) -> None:
    """Make a group."""
    with connected() as client:
        client.admin.create_group(group)
    err.print(f"{group} has no members yet: binnacle groups add {group} USER")


@groups.command("delete")
def delete_group(group: Group) -> None:
    """Delete a group; objects shared with it become private."""
    with connected() as client:
        client.admin.delete_group(group)
    err.print(f"{group} is deleted")


@groups.command("add")
def add_member(group: Group, user: User) -> None:
    """Add a user to a group."""
    with connected() as client:
        members = client.admin.add_member(group, user)["members"]
    err.print(f"{group}: {', '.join(members)}")


@groups.command("remove")
def remove_member(group: Group, user: User) -> None:
    """Remove a user from a group."""
    with connected() as client:
        client.admin.remove_member(group, user)
    err.print(f"{user} was removed from {group}")
