"""Describes a job in one sentence: what it does, and its state. Pure: the same job and time give the same words."""

from collections.abc import Mapping
from datetime import datetime

from app.jobs.schemas import JobOut
from app.jobs.specs import report_spec
from app.jobs.states import State
from app.pages.wording import duration, listed
from binnacle.words.counting import counted
from terms.specs import StudySpec
from terms.values import Json

ON_MODELS = {"inspect": "Inspect", "prove": "Prove", "download": "Download"}


def title(job: JobOut) -> str:
    """Returns what the job does: `Steer refusal on gemma`."""
    spec, model = job.spec, job.model or "a model"
    trait = _trait(spec)
    if job.kind == "report":
        return _study(report_spec(job)["study"])
    if job.kind in ON_MODELS:
        return f"{ON_MODELS[job.kind]} {model}"
    return {
        "calibrate": f"Calibrate {model}",
        "extract": f"Extract {trait} on {model}",
        "steer": f"Steer {trait} on {model}",
        "rescore": f"Score the answers on {trait} of {model} again",
        "generate": f"Try {model} on {counted(len(spec.get('prompts') or ()), 'prompt')}",
        "export": "Export calibrations" if "calibrations" in spec else "Export vectors",
    }.get(job.kind, f"{job.kind.capitalize()} {model}")


def standing(job: JobOut, now: datetime) -> str:
    """Returns the job's state: `running, about 4 min left`; `waiting, 2 jobs are ahead`; or how it ended."""
    if job.state == State.QUEUED:
        return _waiting(job)
    if job.state == State.RUNNING:
        return _running(job, now)
    if job.state == State.CANCELLING:
        return "stopping"
    took = _took(job)
    if job.state == State.FAILED:
        return f"failed{took}"
    return f"cancelled{took}" if job.state == State.CANCELLED else f"finished{took}"


def _took(job: JobOut) -> str:
    began = job.created_at if job.kind == "report" else job.started_at  # the report job itself only writes the report
    if began is None or job.finished_at is None:
        return ""
    return f" after {duration((job.finished_at - began).total_seconds())}"


def _waiting(job: JobOut) -> str:
    code = None if job.waits_because is None else job.waits_because.code
    if code == "after_jobs":
        count = len(job.waiting_for)
        return f"waiting for {counted(count, 'other job')} to end" if count else "waiting for other jobs to end"
    reasons = {
        "backoff": "waiting to be tried again",
        "no_worker_of_class": "waiting: no worker that could run it is up",
        "workers_held": "waiting: every worker is paused by an administrator",
        "no_disk_space": "waiting: the workers have too little disk space",
        "quota_running": f"waiting: {job.owner} has as many jobs running as the quota allows",
        "starting": "about to start",
    }
    if code in reasons:
        return reasons[code]
    if job.queue_position is None:
        return "waiting"
    ahead = job.queue_position - 1
    if ahead == 0:
        return "waiting, next in line"
    return f"waiting, {counted(ahead, 'job')} {'is' if ahead == 1 else 'are'} ahead"


def _running(job: JobOut, now: datetime) -> str:
    if job.waits_because is not None and job.waits_because.code == "model_loading":
        return "starting, its model is loading"
    said = "running"
    if job.progress.total:
        said += f", {100 * job.progress.done // job.progress.total} % of {job.phase.replace('_', ' ')}"
    if job.eta_at is not None and job.eta_at > now:
        said += f", about {duration((job.eta_at - now).total_seconds())} left"
    return said


def _trait(spec: Mapping[str, Json]) -> str:
    trait = spec.get("trait")
    return str(trait.get("name") or "a trait") if isinstance(trait, dict) else str(trait or "a trait")


def _study(asked: StudySpec) -> str:
    traits, models = asked["traits"], asked["models"]
    on = f" on {listed(models)}" if models else ""
    return f"Study {listed(traits)}{on}" if traits else f"Study massive dimensions{on}"
