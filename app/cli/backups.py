"""`binnacle backup` and `binnacle restore`: copy a data folder to a backup and back."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from binnacle.address import home_folder
from binnacle.cli.output import out
from binnacle.errors import BinnacleError
from binnacle.words.counting import counted

DataFolder = Annotated[Path | None, typer.Option("--home", help="Data folder; BINNACLE_HOME or ~/.binnacle when left out.")]


def backup(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet; best on another disk.")],
    home: DataFolder = None,
) -> None:
    """Copy the database, objects and secrets to a new folder; the service may keep running."""
    from app import settings_file
    from app.embedded.backup import SECRETS, back_up
    from app.embedded.home import Home
    from app.settings import Settings

    settings_file.apply(Settings, home)  # DATABASE_URL and STORAGE_URL may stand there
    folder = (home or home_folder()).expanduser()
    if not folder.exists() and not os.environ.get("DATABASE_URL"):
        raise BinnacleError("no_data_folder", f"{folder} does not exist. Name the service's data folder with --home.")
    made = back_up(Home(folder), target)
    objects = (
        "objects are in a bucket: back that up too"
        if made.objects is None
        else f"{counted(made.objects, 'object')}, {made.bytes:,} bytes"
    )
    secrets = [name for name in SECRETS if (target / name).exists()]
    out.print(f"{target}: {', '.join(['the database', objects, *secrets])} (keep it private)")
    if "pepper" not in secrets:
        out.print("No pepper was found, and no key works without it: keep the service's BINNACLE_KEY_PEPPER beside this backup.")
    if made.missing:
        out.print(f"Objects that the database refers to but that could not be found and copied: {made.missing}.")
        out.print("Their content is lost unless an older backup has it.")


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `binnacle backup` wrote.")],
    home: Annotated[Path, typer.Option("--home", help="A new data folder.")],
) -> None:
    """Restore a backup to a new data folder; start it with `binnacle up --home`."""
    from app import settings_file
    from app.embedded.backup import MANIFEST
    from app.embedded.backup import restore as run
    from app.embedded.home import Home
    from app.settings import Settings

    settings_file.apply(Settings, home)
    if not source.is_dir():
        raise BinnacleError("no_backup", f"{source} is not a folder. Name a folder that `binnacle backup` wrote.")
    if not (source / MANIFEST).is_file():
        raise BinnacleError("no_backup", f"{source} holds no backup of Binnacle: {MANIFEST} is missing.")
    made = run(source, Home(home))
    others = [name for name in ("DATABASE_URL", *(["STORAGE_URL"] if made.objects is not None else [])) if os.environ.get(name)]
    if others:
        out.print(
            f"Unset {' and '.join(others)} before you start it (environment, binnacle.toml): otherwise `binnacle up` serves other data."
        )
    out.print(f"{home} is as it was at {made.made_at}. Start it: binnacle up --home {shlex.quote(str(home))}")
