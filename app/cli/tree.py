"""The table of the server's commands. pyproject.toml adds it to the entry-point group `binnacle.commands`, where the client finds it."""

from binnacle.cli.tree import Command, Table

COMMANDS: Table = {
    "up": Command("app.cli.service:up", "Run the service until Ctrl-C: Postgres, broker, API and workers."),
    "demo": Command("app.cli.demo:demo", "Start everything, study the shipped models over HTTP, print what was found, stop."),
    "worker": Command("app.cli.service:worker", "Run this host's workers until Ctrl-C, for a service on another host."),
    "prepare": Command("app.cli.service:prepare", "Migrate the database of DATABASE_URL and make the first key."),
    "keys": Command("app.cli.keys:commands", "API keys; run this on the server."),
    "doctor": Command("app.cli.doctor:doctor", "Check this machine and the service, and say what to do."),
    "backup": Command(
        "app.cli.backups:backup", "Copy the database, objects and secrets to a new folder; the service may keep running."
    ),
    "restore": Command("app.cli.backups:restore", "Restore a backup to a new data folder; start it with `binnacle up --home`."),
    "openapi": Command("app.cli.service:openapi", "Print the API's OpenAPI document; needs no running service."),
    "quotas verify": Command("app.cli.counted:verify", "Check the bytes counted for each user against what the user stores."),
}
