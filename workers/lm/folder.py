"""The files of a model folder: lists them, checks that they may be read, hashes them, and tells whether they changed since.

Only safetensors weights are opened: no pickled file, and no link that leads out of the folder. Imports no torch.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from workers.lm.errors import ModelFault, first_few
from workers.lm.facts import FileStamp
from workers.lm.jsonfile import read_json

Progress = Callable[[int, int], None]

CHUNK = 8 << 20
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Files that can make up a tokenizer. At least one of TOKENIZER_MODELS must exist: otherwise the library builds an empty tokenizer.
TOKENIZER_MODELS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
TOKENIZER_FILES = (
    *TOKENIZER_MODELS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
TEMPLATES = "additional_chat_templates"
"""A folder of chat templates `NAME.jinja`, which the library reads too: `default.jinja` replaces chat_template.jinja."""
HASHED_CONFIGS = ("config.json", "generation_config.json")
"""Without INDEX: it says only which file holds a tensor, and the weights' own hash covers what the tensors are."""
CONFIG_FILES = (*HASHED_CONFIGS, INDEX)


def check_folder(folder: Path) -> None:
    """Raises ModelFault not_a_model_folder, adapter_not_merged, link_leads_out, pickle_weights_only, no_weights, two_weight_sets or no_tokenizer
    when the folder does not hold a loadable model, or cannot be read."""
    try:
        _check_folder(folder)
    except OSError as error:
        raise ModelFault(
            "not_a_model_folder",
            f"{folder} cannot be read: {error.strerror or error}. Give the workers' account permission to read it.",
        ) from error


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFault("not_a_model_folder", f"{folder} is not a folder. Give a folder in the Hugging Face layout.")
    if (folder / ADAPTER).exists():
        raise ModelFault(
            "adapter_not_merged",
            f"{folder} holds an adapter ({ADAPTER}). The adapter would not be applied: only the base model would be measured. Merge it first, "
            f"with merge_and_unload() and save_pretrained(NEW), or remove {ADAPTER} to measure the base model.",
        )
    if not (folder / "config.json").is_file():
        names = first_few(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise ModelFault(
            "not_a_model_folder", f"{folder} has no config.json (found: {names}). Give a folder in the Hugging Face layout."
        )
    _check_links(folder)
    weight_files(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_MODELS):
        raise ModelFault(
            "no_tokenizer", f"{folder} has no tokenizer (looked for {', '.join(TOKENIZER_MODELS)}). Put its files there."
        )


def _check_links(folder: Path) -> None:
    """Refuses links that lead out of the folder; in a snapshot of the hub's cache, links may lead into that repository's cache."""
    root = folder.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        root = root.parent.parent
    for entry in sorted(folder.rglob("*")):
        if not entry.is_symlink():
            continue
        try:
            target = entry.resolve()
            where = "" if target.is_relative_to(root) else f"to {target}, outside the model's folder"
        except (RuntimeError, OSError):  # Python 3.11 raises RuntimeError
            where = "that leads back to itself"
        if where:
            raise ModelFault(
                "link_leads_out",
                f"{entry.relative_to(folder)} in {folder} is a link {where}. Copy the file into the folder.",
            )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that the model is loaded from, in name order. Like the library, prefers one whole file to shards.

    Raises ModelFault pickle_weights_only, no_weights, two_weight_sets.
    """
    shards = _shards(folder) if (folder / INDEX).is_file() else []
    loaded_by = WHOLE if (folder / WHOLE).is_file() or not shards else INDEX
    names = [WHOLE] if loaded_by == WHOLE else shards
    _refuse_second_set(folder, loaded_by, {name for name in shards if (folder / name).is_file()} - set(names))
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return [folder / name for name in names]
    pickled = sorted(entry.name for entry in folder.iterdir() if entry.suffix in PICKLED)
    if pickled and len(missing) == len(names):
        raise ModelFault(
            "pickle_weights_only",
            f"{folder} has its weights only as {first_few(pickled)}: pickle files can run code and are never read. If "
            "you trust them, convert them once: AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW); copy the tokenizer's files.",
        )
    raise ModelFault("no_weights", f"{folder} lacks weight files: {first_few(missing)}. Download or copy them.")


def _shards(folder: Path) -> list[str]:
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) and Path(name).name == name for name in shards.values()):
        raise ModelFault("no_weights", f"{INDEX} has no usable weight_map. Save the model again with save_pretrained.")
    return sorted(set(shards.values()))


def _refuse_second_set(folder: Path, loaded_by: str, others: set[str]) -> None:
    """Refuses a folder with a second set of weights, because another program or version might load files that were not hashed and scanned."""
    if others:
        raise ModelFault(
            "two_weight_sets",
            f"{folder} holds two sets of weights: {WHOLE}, and {len(others)} of the files that {INDEX} names "
            f"({first_few(sorted(others))}). Programs differ in which set they load. Keep one and remove the other.",
        )
    named = read_json(folder / "config.json").get("transformers_weights")
    if named not in (None, loaded_by):
        raise ModelFault(
            "two_weight_sets",
            f'config.json names "{named}" as its weights (transformers_weights); the weights of this folder are {loaded_by}. '
            f"Remove that entry, or rename the file it names to {WHOLE} and keep no other.",
        )


def tokenizer_files(folder: Path) -> list[Path]:
    """The tokenizer's files, in name order, and then those of TEMPLATES."""
    files = [folder / name for name in sorted(TOKENIZER_FILES)]
    return [file for file in (*files, *sorted((folder / TEMPLATES).glob("*.jinja"))) if file.is_file()]


def _model_files(folder: Path) -> list[Path]:
    """Every file that makes up the model, in name order."""
    configs = [folder / name for name in CONFIG_FILES if (folder / name).is_file()]
    return sorted({*configs, *tokenizer_files(folder), *weight_files(folder)})


def stamps(folder: Path) -> tuple[FileStamp, ...]:
    """A stamp of every file that makes up the model, in name order."""
    return tuple(
        FileStamp(f.relative_to(folder).as_posix(), (s := f.stat()).st_size, s.st_mtime_ns, s.st_ino)
        for f in _model_files(folder)
    )


def devices(folder: Path) -> list[int]:
    """The file system of each file of the model, because two files on different file systems may share an inode number. Not part of a stamp: it
    differs between hosts and restarts."""
    return [file.stat().st_dev for file in _model_files(folder)]


def files_changed(path: str | Path, files: Sequence[FileStamp]) -> bool:
    """Whether any file was changed, replaced, added or removed since the facts were made."""
    try:
        return stamps(Path(path)) != tuple(files)
    except (OSError, ModelFault):
        return True


def config_hash(folder: Path) -> str:
    """sha256 over the config files, which decide what the weights compute and which tokens end an answer."""
    return content_hash((folder / name for name in HASHED_CONFIGS if (folder / name).is_file()), within=folder)


def content_hash(files: Iterable[Path], *, within: Path | None = None, advance: Callable[[int], None] = lambda _: None) -> str:
    """sha256 over the files' contents in the order given, each preceded by its path in the folder `within`, if given, and its size. Holds one
    chunk in memory."""
    digest = hashlib.sha256()
    for file in files:
        if within is not None:
            digest.update(f"{file.relative_to(within).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                advance(len(chunk))
    return digest.hexdigest()
