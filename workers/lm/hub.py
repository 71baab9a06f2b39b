"""Turns a model's name into a folder on this machine: a path stays a path, a hub id becomes its snapshot in the hub client's cache.

Only safetensors, configs and tokenizer files are fetched (`hubfiles` fetches them singly, for programs that show progress).
"""

import errno
import os
import re
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.file_download import repo_folder_name

from workers.lm.errors import ModelFault
from workers.lm.folder import ADAPTER, TOKENIZER_FILES

WANTED = [
    "model*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    ADAPTER,
    *TOKENIZER_FILES,
]
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str | Path) -> bool:
    """Whether `name` is a hub's `owner/name` and not a local folder."""
    return HUB_ID.fullmatch(os.fspath(name)) is not None and not Path(name).exists()


def repository_folder(name: str, cache: Path | None = None) -> Path:
    """The hub client's cache folder for a model: `blobs/` by hash, and `snapshots/COMMIT/` with links into them."""
    return Path(cache or constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model"))


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder that holds the model: a hub id's snapshot, which is downloaded if it is not in the cache, or any other `name` as it is,
    unchecked. Raises ModelFault hub_not_stored, hub_unreachable."""
    if not is_hub_id(name):
        return Path(name)
    try:
        return Path(snapshot_download(os.fspath(name), revision=revision, allow_patterns=WANTED))
    except Exception as error:  # the hub client's errors have no common base
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise ModelFault(
                "hub_not_stored",
                f"{name} could not be stored in {constants.HF_HUB_CACHE}: {os.strerror(error.errno)}. Correct that, or set HF_HUB_CACHE "
                "to another folder.",
            ) from error
        raise ModelFault(
            "hub_unreachable",
            f"{name} is not a folder here, and fetching it from the hub at revision {revision or 'main'} failed: "
            f"{type(error).__name__}. Check the name and the network, or copy the model to a folder and give its path.",
        ) from error


def fetched_folder(name: str | Path, revision: str | None, cache: Path | None = None) -> Path:
    """The folder of a model, without using the network: a hub model must have been downloaded before. Raises ModelFault not_downloaded."""
    if not is_hub_id(name):
        return Path(name)
    repository = repository_folder(os.fspath(name), cache)
    folder = repository / "snapshots" / (revision or "")
    if revision is None or not folder.is_dir():
        raise ModelFault(
            "not_downloaded",
            f"{name} {f'at {revision}' if revision else 'without a commit'} is not in this worker's model store "
            f"({repository.parent}). Inspect it again, which fetches it; workers on several hosts must share that folder (BINNACLE_HUB_CACHE).",
        )
    return folder
