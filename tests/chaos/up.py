"""`binnacle up` with worker nodes that a test chooses: `python -m tests.chaos.up --home FOLDER NODES`.

The supervisor, the servers and the commands are the product's own. The nodes run tests.chaos.celery_app and the API tests.chaos.server, which
add the kinds of job that only tests have. NODES is a JSON list of `{"name", "environment", "wrapper"}`; the node's command line is passed to
the wrapper.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from app.cli.up import up
from app.embedded import commands
from app.embedded.commands import WorkerPlan


def main(home: str, nodes: str) -> int:
    """Runs until it is told to stop; returns the exit status."""
    wanted = {node["name"]: node for node in json.loads(nodes)}
    command, environment, api = commands.worker_command, commands.worker_environment, commands.api_command

    def api_command(listening: int, *, after: int, tally: tuple[int, int] | None = None) -> list[str]:
        return ["tests.chaos.server" if word == "app.server" else word for word in api(listening, after=after, tally=tally)]

    def plan_workers(*_: object) -> list[WorkerPlan]:
        return [WorkerPlan(name, name.split("-", maxsplit=1)[0], threads=1) for name in wanted]  # type: ignore[arg-type]

    def worker_command(plan: WorkerPlan) -> list[str]:
        words = ["tests.chaos.celery_app" if word == "workers.celery_app" else word for word in command(plan)]
        return [*wanted[plan.name].get("wrapper", []), *words]

    def worker_environment(plan: WorkerPlan, service: Mapping[str, str]) -> dict[str, str]:
        return {**environment(plan, service), **wanted[plan.name].get("environment", {})}

    commands.api_command = api_command
    commands.plan_workers = plan_workers
    commands.worker_command = worker_command
    commands.worker_environment = worker_environment
    return up(Path(home), port=0, device="cpu")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[2:]))
