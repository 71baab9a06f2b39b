"""`binnacle up` as it is, but with worker nodes of the test's choosing: `python -m tests.chaos.up --home FOLDER NODES`.

The supervisor, the servers, the API and the commands are the product's own; the nodes run tests.chaos.celery_app. NODES is a JSON list of
`{"name", "environment", "wrapper"}`, the wrapper being what the node's command line is given to.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from app.cli.up import up
from app.embedded import commands
from app.embedded.commands import WorkerPlan


def main(home: str, nodes: str) -> int:
    """Runs until it is told to stop; the exit status."""
    wanted = {node["name"]: node for node in json.loads(nodes)}
    command, environment = commands.worker_command, commands.worker_environment

    def plan_workers(*_: object) -> list[WorkerPlan]:
        return [WorkerPlan(name, name.split("-", maxsplit=1)[0], threads=1) for name in wanted]  # type: ignore[arg-type]

    def worker_command(plan: WorkerPlan) -> list[str]:
        words = ["tests.chaos.celery_app" if word == "workers.celery_app" else word for word in command(plan)]
        return [*wanted[plan.name].get("wrapper", []), *words]

    def worker_environment(plan: WorkerPlan, service: Mapping[str, str]) -> dict[str, str]:
        return {**environment(plan, service), **wanted[plan.name].get("environment", {})}

    commands.plan_workers = plan_workers
    commands.worker_command = worker_command
    commands.worker_environment = worker_environment
    return up(Path(home), port=0, device="cpu")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[2:]))
