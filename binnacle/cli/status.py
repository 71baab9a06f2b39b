"""`binnacle status`: shows the state of the whole service."""

from binnacle.cli.connecting import connected
from binnacle.cli.devices import standing
from binnacle.cli.live import duration
from binnacle.cli.output import Json, out, print_json
from binnacle.cli.speech import spoken
from binnacle.cli.terminal import Listing, styled


def status(as_json: Json = False) -> None:
    """Show workers, devices and the queue."""
    with connected() as client:
        now = client.status()
    if as_json:
        print_json(now)
        return
    workers = Listing("worker", "class", "device", "models loaded", "busy with", "seen")
    for worker in now["workers"]:
        ago = f"{duration(worker['seen_seconds_ago'])} ago"
        seen = ago if worker["alive"] else styled(f"lost, {ago}", "red")
        loaded, busy = ", ".join(worker["models"]), worker["busy_with"] or standing(worker)
        workers.add_row(worker["id"], worker["job_class"], worker["device"], loaded, busy, seen)
    queues = Listing("queue", "model", "running", "ready", "waiting", "oldest")
    for queue in now["queues"]:
        oldest = duration(queue["oldest_seconds"]) if queue["oldest_seconds"] is not None else ""
        counts = [str(queue[name]) for name in ("running", "queued", "waiting")]
        queues.add_row(queue["queue"], queue["model"] or "", *counts, oldest)
    out.print(f"Binnacle {now['version']}, keys {now['auth']}, broker: {now['broker']['detail']}")
    out.print(workers)
    out.print(queues if now["queues"] else "nothing is queued")
    if now["waiting"]:
        waiting = Listing("waits", "kind", "user", "queue position", "because")
        for queued in now["waiting"]:
            because = spoken(queued["waits_because"]["detail"]) if queued["waits_because"] else ""
            waiting.add_row(queued["job"], queued["kind"], queued["owner"], str(queued["queue_position"] or ""), because)
        out.print(waiting)
