"""Checks the running service: whether it answers, its workers, and whether its models' files have changed."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.cli.checkup.finding import Finding, Level
from binnacle import BinnacleError, Client
from binnacle.address import find_address
from binnacle.errors import NoService
from binnacle.words.counting import counted

DEFAULT_PORT = 8000
"""Where `binnacle up` listens."""


def listening(home: Path, port: int | None) -> Iterator[Finding]:
    """Yields the finding whether the port is free on this machine. Without a port, checks DEFAULT_PORT; yields nothing if a service is named."""
    if port is None:
        try:
            find_address(home=home)
        except NoService:
            port = DEFAULT_PORT
        else:
            return
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    detail = f"{port} is in use: by Binnacle if it runs, else choose another with --port" if taken else f"{port} is free"
    yield Finding("port", "note" if taken else "ok", detail)


def service(home: Path) -> Iterator[Finding]:
    """Yields findings about the running service, its workers and its models; a note if the service is not reachable."""
    try:
        client = Client(home=home, patience=2)
    except BinnacleError as error:
        yield Finding("service", "note", error.detail)
        return
    with client:
        all_workers = client.status()["workers"]
        living = [worker for worker in all_workers if worker["alive"]]
        yield Finding(
            "service",
            "ok" if living else "fault",
            f"{client.url}, {counted(len(living), 'worker')}" + ("" if living else "; start one (binnacle up, binnacle worker)"),
        )
        yield from workers(all_workers)
        here = any(worker["host"] == socket.gethostname() for worker in living)
        for model in client.models():
            yield model_state(model, here=here)


def workers(all_workers: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yields findings about workers that are silent, held or blocked, and about job classes that no worker can run."""
    for worker in all_workers:
        about = f"worker {worker['id']}"
        if not worker["alive"]:
            silent = (
                f"has not reported for {worker['seen_seconds_ago']:,.0f} s; see its log on {worker['host']} and start it again"
            )
            yield Finding(about, "fault", f"{silent}. Other workers take its jobs; after a day it leaves the list")
        elif worker["hold"]:
            hold = worker["hold"]
            until = f" until {hold['until'][:16]}" if hold["until"] else ""
            yield Finding(about, "note", f"{hold['mode']} by {hold['by']}{until}; binnacle devices resume {worker['id']}")
        elif worker["blocked"]:
            yield Finding(about, "fault", worker["blocked"]["detail"])
    claiming = {worker["job_class"] for worker in all_workers if worker["alive"] and not worker["hold"] and not worker["blocked"]}
    for job_class in ("model", "light") if all_workers else ():
        if job_class not in claiming:
            yield Finding(f"{job_class} jobs", "fault", f"no {job_class} worker claims them: start or resume one")


def model_state(model: Mapping[str, Any], *, here: bool) -> Finding:
    """Returns the finding about a model: its state, and whether its files changed since inspected. `here`: a worker runs on this machine."""
    about = f"model {model['name']}"
    if model["state"] != "ready":
        level: Level = "fault" if model["state"] == "faulty" else "note"
        return Finding(about, level, (model["fault"] or {}).get("detail") or model["state"])
    folder = folder_of(model)
    again = f"inspect the model again: POST /v1/models/{model['name']}/inspect"
    if not folder.is_dir():
        if here:
            return Finding(about, "fault", f"its files at {folder} are missing; put them back, or {again}")
        return Finding(about, "ok", "ready; its files are not on this machine, so they were not checked")
    changed = [stamp["name"] for stamp in model["facts"].get("files", ()) if differs(folder / stamp["name"], stamp)]
    if changed:
        return Finding(about, "fault", f"{', '.join(changed[:3])} changed or disappeared since the inspection; {again}")
    if model.get("outcome") == "unproven":
        return Finding(
            about,
            "note",
            "ready, not proved yet: it is proved when a device is idle; its files have not changed since the inspection",
        )
    return Finding(about, "ok", "ready; its files have not changed since the inspection")


def folder_of(model: Mapping[str, Any]) -> Path:
    """Returns the folder where this machine would keep the model's files."""
    from app.settings import get_settings
    from app.storage.space import hub_cache

    if model["revision"] is None:
        return Path(model["source"])
    repository = f"models--{model['source']}".replace("/", "--")
    return hub_cache(get_settings()) / repository / "snapshots" / str(model["revision"])


def differs(path: Path, stamp: Mapping[str, Any]) -> bool:
    """Returns whether a file differs from its stamp in size, modification time or inode. The file is not read."""
    try:
        now: os.stat_result = path.stat()
    except OSError:
        return True
    return (now.st_size, now.st_mtime_ns, now.st_ino) != (stamp["size"], stamp["mtime_ns"], stamp["inode"])
