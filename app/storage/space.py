"""Checks free disk space for what this machine writes: objects, the data folder, models from the hub."""

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.errors import Problem, as_error
from app.settings import Settings
from binnacle.words.sizes import bytes_in_words
from terms.documents.jobs import ErrorFacts
from terms.values import JsonObject


def hub_cache(settings: Settings) -> Path:
    """Returns the folder of models downloaded from the hub: the setting, or the default of the hub's client."""
    if settings.hub_cache is not None:
        return settings.hub_cache.expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()


def _object_folders(settings: Settings) -> list[Path]:
    """Returns the existing folder of objects on this machine; none where an object store elsewhere holds them."""
    storage = urlsplit(settings.storage_url.get_secret_value())
    folder = Path(unquote(storage.path))
    return [folder] if storage.scheme == "file" and folder.is_dir() else []


def written_folders(settings: Settings) -> list[Path]:
    """Returns the existing folders on this machine that the service writes to."""
    others = (settings.home.expanduser(), hub_cache(settings))
    return [*_object_folders(settings), *(folder for folder in others if folder.is_dir())]


def check_room(settings: Settings, size: int) -> None:
    """Raises Problem 507 `low_disk` when an upload of `size` bytes would leave too little free space in the folder of stored objects, or does
    not fit into the folder of temporary files while it is read.
    """
    least = settings.min_free_bytes
    # where large forms lie until they are read
    spool = (Path(tempfile.gettempdir()), 0, "Make room there, or set TMPDIR to a larger disk.")
    stored = [(folder, least, "An administrator can make room with `binnacle gc`.") for folder in _object_folders(settings)]
    for folder, kept, advice in [*stored, spool] if least else []:
        free = shutil.disk_usage(folder).free
        if free - size < kept:
            detail = (
                f"{bytes_in_words(free)} are free at {folder} on the server, and {bytes_in_words(kept)} must stay free; this upload has "
                f"{size:,} bytes. Nothing was stored. {advice}"
            )
            facts: JsonObject = {"folder": str(folder), "free_bytes": free, "min_free_bytes": kept, "upload_bytes": size}
            raise Problem(507, "low_disk", detail, facts=facts)


def shortage(settings: Settings) -> ErrorFacts | None:
    """Returns why no new work may begin: `{"code": "low_disk", ...}` with the arithmetic; None while there is enough space."""
    least = settings.min_free_bytes
    for folder in written_folders(settings) if least else []:
        free = shutil.disk_usage(folder).free
        if free < least:
            detail = (
                f"{bytes_in_words(free)} are free at {folder}, and no new job starts below {bytes_in_words(least)} "
                "(BINNACLE_MIN_FREE_BYTES). Make room: `binnacle gc` lists results that can be removed."
            )
            return as_error("low_disk", detail, folder=str(folder), free_bytes=free, min_free_bytes=least)
    return None
