"""`binnacle get` downloads a finished job's files; `binnacle export` submits a job that writes a result in another format."""

from pathlib import Path
from typing import Annotated

import typer

from binnacle.cli.connecting import connected
from binnacle.cli.output import Json, Overwrite, err, out, print_json
from binnacle.cli.picking import pick
from binnacle.cli.submit import parse_layers
from binnacle.errors import BinnacleError
from binnacle.following import FINISHED
from binnacle.results import Job


def get(
    which: Annotated[str, typer.Argument(metavar="JOB|CALIBRATION", help="A job (job_...) or a calibration (cal_...).")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The folder for the files; by default one named by the job's id.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="trait-interp: put calibration.json where its notebooks look, below --out or here.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="With --layout: the experiment's folder, if not the one that the file names.")
    ] = None,
    model_variant: Annotated[
        str | None, typer.Option(help="With --layout: the variant's folder, if not the one that the file names.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Download the files of a finished job; resumes a partial download and checks SHA-256."""
    if layout not in (None, "trait-interp"):
        raise BinnacleError("bad_option", f"--layout is {layout!r}; the only layout is trait-interp.")
    if layout is None and (experiment or model_variant):
        raise BinnacleError("bad_option", "--experiment and --model-variant name folders of --layout trait-interp. Add it.")
    folders = {"experiment": experiment, "model_variant": model_variant}
    with connected() as client:
        job_id = client.job_of(pick(client, which, "job"))
        paths = (
            client.download_all(job_id, to, overwrite=overwrite)
            if layout is None
            else [client.place_calibration(job_id, to or "./", overwrite=overwrite, **folders)]
        )
        job = None if paths else client.job(job_id)
    if as_json:
        print_json([str(path) for path in paths])
    else:
        for path in paths:
            out.print(str(path))
    if job is not None and not paths:
        err.print(_fileless(job))
        raise typer.Exit(1)


def _fileless(job: Job) -> str:
    """Returns why a job has no files, and what to do."""
    if job["state"] not in FINISHED:
        return f"{job['id']} has no files yet (it is {job['state']}); see: binnacle watch {job['id']}"
    if job["state"] == "succeeded" and job["kind"] == "generate":
        return f"{job['id']} is a generation and has no files; print its answers with: binnacle show {job['id']}"
    return f"{job['id']} has no files and will have none: it is {job['state']}. See: binnacle watch {job['id']}"


def export(
    result: Annotated[
        str, typer.Argument(metavar="EXTRACTION|CALIBRATION", help="An extraction (ext_...) or a calibration (cal_...).")
    ],
    file_format: Annotated[str, typer.Argument(metavar="FORMAT", help="trait-interp, pt, gguf or npy.")],
    method: Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")] = None,
    layers: Annotated[str | None, typer.Option(help="Only these layers, like 0,4,8-11.")] = None,
    as_json: Json = False,
) -> None:
    """Write an extraction's vectors, or a calibration, in another format: a job with files. Fetch them with `binnacle get`."""
    chosen = {"methods": method, "layers": None if layers is None else parse_layers(layers)}
    with connected() as client:
        job = client.export(
            pick(client, result, "job"), file_format, **{name: choice for name, choice in chosen.items() if choice is not None}
        )
    if as_json:
        print_json(job)
    else:
        out.print(job["id"])
