"""The tree of commands. Each lives in a module named for what it is about; heavy imports wait until a command runs."""

import io
import sys

import typer

from app.cli import (
    accounts,
    audit,
    backups,
    deletion,
    demo,
    devices,
    doctor,
    gc,
    jobs,
    keys,
    models,
    quotas,
    service,
    studies,
    submit,
    traits,
    webhooks,
)
from app.cli.output import print_error
from app.client import BinnacleError
from app.embedded.errors import EmbeddedError
from app.errors import Problem

application = typer.Typer(
    name="binnacle",
    help="Find the massive dimensions of language models, as a service on a shared machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
application.command("up")(service.up)
application.command("worker")(service.worker)
application.command("prepare")(service.prepare)
application.command("backup")(backups.backup)
application.command("restore")(backups.restore)
application.command("demo")(demo.demo)
application.add_typer(submit.commands, name="submit")
application.command("watch")(jobs.watch)
application.command("jobs")(jobs.list_jobs)
application.command("edit")(jobs.edit)
application.command("get")(jobs.get)
application.command("show")(jobs.show)
application.command("share")(jobs.share)
application.command("cancel")(jobs.cancel)
application.command("retry")(jobs.retry)
application.command("delete")(deletion.delete)
application.add_typer(studies.commands, name="study")
application.add_typer(models.commands, name="models")
application.add_typer(traits.commands, name="traits")
application.add_typer(devices.commands, name="devices")
application.add_typer(webhooks.commands, name="webhooks")
application.add_typer(quotas.commands, name="quotas")
application.command("usage")(quotas.usage)
application.command("status")(service.status)
application.command("gc")(gc.gc)
application.command("doctor")(doctor.doctor)
application.add_typer(keys.commands, name="keys")
application.add_typer(accounts.users, name="users")
application.add_typer(accounts.groups, name="groups")
application.command("whoami")(accounts.whoami)
application.command("audit")(audit.audit)
application.command("openapi")(service.openapi)


def run() -> None:
    """Runs the command that was asked for; ends the process with 0, or with another status after saying why."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the terminal's encoding lacks is written out as well
            stream.reconfigure(errors="backslashreplace")
    try:
        application()
    except (BinnacleError, EmbeddedError, Problem) as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(getattr(error, "exit_status", 1))
