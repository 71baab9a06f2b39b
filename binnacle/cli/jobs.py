"""`watch`, `jobs`, `edit`, `share`, `show`, `cancel`, `retry`: commands for existing jobs."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from binnacle.cli.answers import answers_report
from binnacle.cli.connecting import connected
from binnacle.cli.gains import steering_report
from binnacle.cli.live import Watcher, headline, total_of
from binnacle.cli.output import Json, err, out, print_json
from binnacle.cli.picking import pick
from binnacle.cli.show import calibration_report
from binnacle.cli.speech import spoken
from binnacle.cli.tables import study_report
from binnacle.cli.terminal import Listing
from binnacle.client import Client
from binnacle.errors import BinnacleError

JobId = Annotated[str, typer.Argument(help="The job's id (job_...), its beginning, or `last` for your newest job.")]


def follow(client: Client, job_id: str, *, as_json: bool) -> None:
    """Shows a job until it ends, then its outcome and a calibration's findings; exits with status 1 if the job did not succeed."""
    with Watcher() as watcher:
        job = client.wait(job_id, on_change=watcher, check=False)
    if as_json:
        print_json(job)
    elif job["state"] == "succeeded":
        out.print(f"{job_id} succeeded; fetch its files with: binnacle get {job_id}")
        if job["kind"] == "calibrate":
            out.print(calibration_report(client.calibration(job_id)))
    else:
        error = job["error"] or {}
        err.print(f"{job_id} {job['state']} {error.get('code', '')}: {spoken(error.get('detail') or 'no reason given')}")
    if job["state"] != "succeeded":
        raise typer.Exit(1)


def watch(job: JobId, as_json: Json = False) -> None:
    """Watch a job until it ends."""
    with connected() as client:
        follow(client, pick(client, job, "job"), as_json=as_json)


def list_jobs(
    state: Annotated[str | None, typer.Option(help="queued, running, cancelling, succeeded, failed or cancelled.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of job, like calibrate.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag.")] = None,
    search: Annotated[str | None, typer.Option(help="Words; each must occur in the name, notes or tags.")] = None,
    experiment: Annotated[str | None, typer.Option(help="The experiment of calibrations and extractions.")] = None,
    model_variant: Annotated[str | None, typer.Option(help="The model variant of calibrations and extractions.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to list.")] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    labels = {"experiment": experiment, "model_variant": model_variant}
    with connected() as client:
        jobs = list(client.jobs(limit=limit, state=state, kind=kind, model=model, tag=tag, q=search, **labels))
    if as_json:
        print_json(jobs)
        return
    table = Listing("job", "kind", "model", "state", "progress", "queue position", "waits because", "name", "created")
    for job in jobs:
        progress = job["progress"]
        done = f"{progress['done']}/{progress['total']} {progress['unit']}" if total_of(job) else ""
        place, why = job["queue_position"] or "", job["waits_because"]["code"] if job["waits_because"] else ""
        cells = (job["id"], job["kind"], job["model"], headline(job), done, str(place), why, job["name"], job["created_at"][:19])
        table.add_row(*cells)
    out.print(table)


def edit(
    job: JobId,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag; may be repeated. The tags given here replace the current ones.")
    ] = None,
    notes: Annotated[str | None, typer.Option(help="New notes.")] = None,
    keep: Annotated[bool | None, typer.Option("--keep/--no-keep", help="Keep the results when old ones are removed.")] = None,
    webhook: Annotated[str | None, typer.Option(help="The webhook to notify when the job ends.")] = None,
    as_json: Json = False,
) -> None:
    """Change a job's name, tags, notes or webhook, or keep its results."""
    changes = {"name": name, "tags": tag, "notes": notes, "keep": keep, "webhook": webhook}
    with connected() as client:
        now = client.edit(pick(client, job, "job"), **{field: value for field, value in changes.items() if value is not None})
    if as_json:
        print_json(now)
    else:
        out.print(f"{now['id']} {now['name'] or ''} {' '.join(now['tags'])}".strip())


def share(
    what: Annotated[
        str, typer.Argument(help="A job, or the id of its result; a trait's id or name; or an imported vector's id.")
    ],
    group: Annotated[str | None, typer.Option(help="Share with the members of this group; the owner must be a member.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Share with everyone who has a key.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Share with administrators only.")] = False,
    as_json: Json = False,
) -> None:
    """Share a job and its results with others, or make them private again. A study's jobs follow the study. Also works for traits and
    imported vectors.
    """
    if [group is not None, public, private].count(True) != 1:
        raise BinnacleError("bad_option", "Choose one of --group NAME, --public and --private.")
    with connected() as client:
        what = pick(client, what)
        shown = client.share(what, "group" if group else "public" if public else "private", group)
        nodes = client.nodes(shown["id"]).values() if shown.get("kind") == "report" and not as_json else ()
    if as_json:
        print_json(shown)
        return
    parts = sum(node["shared"] and not (node["reused"] and private) for node in nodes)  # a reused job becomes visible to no fewer
    its = f", and with it {parts} {'job' if parts == 1 else 'jobs'} of the study" if parts else ""
    err.print(f"{what} is {shown['visibility']}{f': {group}' if group else ''}{its}")


def show(
    which: Annotated[
        str,
        typer.Argument(metavar="JOB|CALIBRATION|STEERING|STUDY", help="A job, or the id of its result (cal_, str_, std_...)."),
    ],
    as_json: Json = False,
) -> None:
    """Print what a calibration, a steering, a study or a generation found."""
    with connected() as client:
        job = client.job(client.job_of(pick(client, which, "job")))
        if job["kind"] not in SHOWN:
            raise BinnacleError(
                "nothing_to_show",
                f"{which} is a job of kind {job['kind']}; calibrations, steerings, studies and generations are shown. "
                f"Use: binnacle get {job['id']}",
            )
        document, report = SHOWN[job["kind"]](client, job["id"])
    if as_json:
        print_json(document)
    else:
        out.print(report)


def _calibration(client: Client, job: str) -> tuple[Any, RenderableType]:
    calibration = client.calibration(job)
    return calibration, calibration_report(calibration)


def _study(client: Client, job: str) -> tuple[Any, RenderableType]:
    tables = client.tables(job)
    return tables, study_report(tables)


def _answers(client: Client, job: str) -> tuple[Any, RenderableType]:
    answers = client.answers(job)
    return answers, answers_report(answers)


def _steering(client: Client, job: str) -> tuple[Any, RenderableType]:
    steering = client.steering(job)
    return steering, steering_report(steering)


SHOWN = {"calibrate": _calibration, "report": _study, "generate": _answers, "steer": _steering, "rescore": _steering}
"""For each kind of job that can be shown: its document, and its report for people."""


def cancel(job: JobId, as_json: Json = False) -> None:
    """Ask a job to stop."""
    with connected() as client:
        now = client.cancel(pick(client, job, "job"))
    if as_json:
        print_json(now)
    else:
        out.print(f"{now['id']} {headline(now)}")
        if now["kind"] == "report" and now["state"] == "queued":
            out.print(
                "The study's unfinished jobs are cancelled; its report will be written from the results so far. To do without it, cancel again."
            )


def retry(job: JobId, as_json: Json = False) -> None:
    """Run a failed or cancelled job again, as a new job."""
    with connected() as client:
        new = client.retry(pick(client, job, "job"))
    if as_json:
        print_json(new)
    else:
        out.print(new["id"])
