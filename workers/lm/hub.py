"""From a model's name to a folder on this machine: a path stays a path, a hub id becomes its snapshot in the local cache.

Only safetensors, configs and tokenizer files are ever fetched.
"""

import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download

from workers.lm.errors import ModelFault
from workers.lm.folder import TOKENIZER_FILES

WANTED = ["model*.safetensors", "model.safetensors.index.json", "config.json", "generation_config.json", *TOKENIZER_FILES]
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder that holds the model: `name` itself when it is one, else the hub's snapshot, fetched when it is not in the
    cache.

    Raises ModelFault not_a_model_folder, hub_unreachable.
    """
    if Path(name).exists() or not HUB_ID.fullmatch(os.fspath(name)):
        return Path(name)
    try:
        return Path(snapshot_download(os.fspath(name), revision=revision, allow_patterns=WANTED))
    except Exception as error:  # the hub client's errors have no common base
        raise ModelFault(
            "hub_unreachable",
            f"{name} is no folder here, and fetching it from the hub at revision {revision or 'main'} failed: "
            f"{type(error).__name__}. Check the name and the network, or copy the model to a folder and give its path.",
        ) from error
