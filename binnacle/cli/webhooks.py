"""`binnacle webhooks`: manages webhooks, and lists the messages sent to them."""

import sys
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, err, out, print_json
from binnacle.cli.terminal import Listing

commands = typer.Typer(help="Webhooks: notify chat rooms and programs when a job ends.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The webhook's name.")]


@commands.command("list")
def list_webhooks(as_json: Json = False) -> None:
    """List webhooks."""
    with connected() as client:
        webhooks = client.webhooks()
    if as_json:
        print_json(webhooks)
        return
    table = Listing("webhook", "address", "by", "since")
    for webhook in webhooks:
        table.add_row(webhook["name"], webhook["url"] or webhook["host"], webhook["created_by"], webhook["created_at"][:19])
    out.print(table)


@commands.command()
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Argument(
            help="The address that receives messages; `-` reads it from standard input, where other accounts cannot see it."
        ),
    ],
    private: Annotated[bool, typer.Option("--private", help="The address is in your own network.")] = False,
    as_json: Json = False,
) -> None:
    """Add a webhook and show, only now, the secret that signs its messages."""
    address = sys.stdin.readline().strip() if url == "-" else url
    with connected() as client:
        made = client.add_webhook(name, address, private=private)
    if as_json:
        print_json(made)
    else:
        err.print(f"Messages to {name} are signed with this secret (docs/webhooks.md):")
        out.print(made["secret"])


@commands.command()
def remove(name: Name) -> None:
    """Remove a webhook; jobs that name it no longer send messages."""
    with connected() as client:
        client.remove_webhook(name)
    err.print(f"{name} is removed")


@commands.command("test")
def send_test(name: Name, as_json: Json = False) -> None:
    """Send a test message; `binnacle webhooks log` shows whether it arrived."""
    with connected() as client:
        sent = client.test_webhook(name)
    if as_json:
        print_json(sent)
    else:
        out.print(sent["id"])


@commands.command()
def log(
    webhook: Annotated[str | None, typer.Option(help="Only this webhook.")] = None,
    job: Annotated[str | None, typer.Option(help="Only this job.")] = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to list.")] = 20,
    as_json: Json = False,
) -> None:
    """List messages and their delivery, newest first."""
    with connected() as client:
        deliveries = list(client.deliveries(limit=limit, webhook=webhook, job=job, state=state))
    if as_json:
        print_json(deliveries)
        return
    table = Listing("when", "webhook", "job", "state", "attempts", "last answer")
    for row in deliveries:
        answer = row["error"] or (str(row["status"]) if row["status"] else "")
        table.add_row(row["created_at"][:19], row["webhook"], row["job"] or "test", row["state"], str(row["attempts"]), answer)
    out.print(table)
