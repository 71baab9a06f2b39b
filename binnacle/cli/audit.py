"""`binnacle audit`: who did what."""

import json
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, out, print_json
from binnacle.cli.terminal import Listing


def audit(
    actor: Annotated[str | None, typer.Option(help="By this user.")] = None,
    action: Annotated[str | None, typer.Option(help="An action such as key.revoke, or key for every action on keys.")] = None,
    object: Annotated[str | None, typer.Option(help="On the object with this id or name.")] = None,  # noqa: A002 - the API's own word
    outcome: Annotated[str | None, typer.Option(help="Only done or only denied actions.")] = None,
    since: Annotated[str | None, typer.Option(help="Since this time, such as 2026-01-31T12:00:00Z.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to list.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who did what, newest first; for administrators. Actions on keys, users, groups, models, judges, devices, quotas and other
    users' jobs."""
    with connected() as client:
        entries = list(client.admin.audit(limit=limit, actor=actor, action=action, object=object, outcome=outcome, since=since))
    if as_json:
        print_json(entries)
        return
    table = Listing("time", "times", "who", "key", "action", "object", "outcome", "details")
    for row in entries:
        details = json.dumps(row["details"], ensure_ascii=False) if row["details"] else ""
        table.add_row(
            row["at"][:19], str(row["count"]), row["actor"], row["key_id"], row["action"], row["object"], row["outcome"], details
        )
    out.print(table)
