"""The tree of commands as a table: each command's name, its function, and its one line of help.

A command's module is imported when that command runs, so that `binnacle --help` imports none of them. The server adds commands through the
entry-point group `binnacle.commands`; each entry point names a table like the one here.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from binnacle.cli.added import entry_points

GROUP = "binnacle.commands"
ABOUT = "Find the massive dimensions of language models, make and compare steering vectors, on a shared server."


class Command(NamedTuple):
    """A command, or a group of commands.

    target: `module:name` of the function, or of the `typer.Typer` of a group. about: the first sentence of its help.
    """

    target: str
    about: str

    def load(self) -> Any:
        """Returns the function or the group; imports its module."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)


Table = Mapping[str, Command]
"""Commands by name; `quotas verify` adds a command to the group `quotas`."""

COMMANDS: Table = {
    "submit": Command("binnacle.cli.submit:commands", "Submit a job."),
    "watch": Command("binnacle.cli.jobs:watch", "Watch a job until it ends."),
    "jobs": Command("binnacle.cli.jobs:list_jobs", "List jobs, newest first."),
    "generate": Command("binnacle.cli.answers:generate", "Answer prompts, unsteered and under vectors, and print the answers."),
    "show": Command("binnacle.cli.jobs:show", "Print what a calibration, a steering, a study or a generation found."),
    "get": Command(
        "binnacle.cli.files:get", "Download the files of a finished job; resumes a partial download and checks SHA-256."
    ),
    "edit": Command("binnacle.cli.jobs:edit", "Change a job's name, tags, notes or webhook, or keep its results."),
    "share": Command("binnacle.cli.jobs:share", "Share a job and its results with others, or make them private again."),
    "cancel": Command("binnacle.cli.jobs:cancel", "Ask a job to stop."),
    "retry": Command("binnacle.cli.jobs:retry", "Run a failed or cancelled job again, as a new job."),
    "delete": Command("binnacle.cli.deletion:delete", "Delete finished jobs with their results, imported vectors or traits."),
    "study": Command("binnacle.cli.studies:commands", "Compare methods over models and traits."),
    "models": Command("binnacle.cli.models:commands", "Models that jobs can use."),
    "traits": Command("binnacle.cli.traits:commands", "Datasets of prompts that show a trait and prompts that do not."),
    "vectors": Command("binnacle.cli.vectors:commands", "Vectors to steer with: list and download them."),
    "export": Command(
        "binnacle.cli.files:export", "Write an extraction's vectors, or a calibration, in another format: a job with files."
    ),
    "open": Command("binnacle.cli.opening:open_page", "Open the pages in a browser, signed in as you."),
    "status": Command("binnacle.cli.status:status", "Show workers, devices and the queue."),
    "usage": Command("binnacle.cli.quotas:usage", "Show use of disk and devices by user."),
    "whoami": Command("binnacle.cli.accounts:whoami", "Show the user of your key, and what the key may do."),
    "devices": Command(
        "binnacle.cli.devices:commands", "Worker nodes and their devices; only administrators pause and drain them."
    ),
    "webhooks": Command("binnacle.cli.webhooks:commands", "Webhooks: notify chat rooms and programs when a job ends."),
    "quotas": Command("binnacle.cli.quotas:commands", "Limits on each user's jobs, device time and storage."),
    "users": Command("binnacle.cli.accounts:users", "Users; for administrators."),
    "groups": Command("binnacle.cli.accounts:groups", "Groups that share jobs and results; for administrators."),
    "audit": Command("binnacle.cli.audit:audit", "Show who did what, newest first; for administrators."),
    "gc": Command("binnacle.cli.gc:gc", "Show the results of old jobs, with their age and size, and with --yes remove them."),
}


def all_commands(more: Table) -> Table:
    """Returns the client's commands, those of other installed distributions, and `more`; later ones replace earlier ones of the same name."""
    commands = dict(COMMANDS)
    for added in entry_points(GROUP):
        module, _, name = added.partition(":")
        try:
            commands |= getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:  # an unrelated package of the same name is found first
            sys.stderr.write(
                f"The commands of {added} cannot be loaded ({error}). If this folder has a package of that name, run binnacle from "
                "another folder; otherwise install it again.\n"
            )
    return commands | dict(more)
