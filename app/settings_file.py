"""Reads `binnacle.toml`: settings in a file, for variables that the environment does not set.

    public_url = "https://binnacle.lab.example"
    database_url = "postgresql://..."      # a secret: then the file must be readable by its owner alone

    [lease]
    ttl = 90

The names are those of `app.settings`; a table is a group of settings. The values are written into the environment, so that child processes
inherit them; a variable that is already set takes precedence.
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings

from binnacle.errors import BinnacleError

FILE = "binnacle.toml"
PATHS = ("BINNACLE_CONFIG", "BINNACLE_HUB_CACHE", "BINNACLE_HUB_TOKEN_FILE")
"""Variables that hold a path of this machine. Child processes work in another folder, so a relative path is made absolute."""
OTHERS = ("BINNACLE_CONFIG", "BINNACLE_URL", "BINNACLE_KEY", "BINNACLE_WORKER_CLASS", "BINNACLE_WORKER_ID", "BINNACLE_UP")
"""Variables that are read, but are not settings of the file."""
ALIKE = 0.9
"""How much a variable must resemble one of ours (difflib's ratio) to be taken for a misspelling of it."""


def place(environment: Mapping[str, str]) -> Path:
    """Returns where the file is expected: `BINNACLE_CONFIG`, or binnacle.toml in the data folder."""
    return Path(environment.get("BINNACLE_CONFIG") or Path(environment.get("BINNACLE_HOME") or "~/.binnacle") / FILE).expanduser()


def apply(
    settings: type[BaseSettings], home: Path | None = None, environment: MutableMapping[str, str] = os.environ
) -> Path | None:
    """Copies the file's values into the environment where variables are missing; returns the file's path, or None without a file.

    `home`: the data folder, which takes precedence over BINNACLE_HOME; it is put there, so that later calls and child processes read the same
    file. Raises BinnacleError `settings_invalid`, which names what is wrong but shows no value.
    """
    if home is not None:
        environment["BINNACLE_HOME"] = str(home)
    known = dict(_known(settings))
    _capitalize(environment, {variable for variable, _ in known.values()})
    _anchor(environment)
    path = place(environment)
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        if environment.get("BINNACLE_CONFIG"):
            raise _wrong(path, "The file does not exist; BINNACLE_CONFIG names it.") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"It cannot be read: {error.__class__.__name__}.") from None
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"It is not valid TOML: {error}.") from None
    groups = {name.partition(".")[0] for name in known if "." in name}
    for name in (name for name, value in given.items() if isinstance(value, dict) and name not in groups):
        raise _wrong(path, f"There is no group [{name}]. The groups are {', '.join(sorted(groups))}.")
    for name, value in _flat(given):
        if name not in known:
            raise _wrong(path, f"There is no setting {name}. app/settings.py lists the settings.")
        variable, secret = known[name]
        if secret and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise _wrong(path, f"It holds the secret {name} and other accounts may read it. Run: chmod 600 {path}")
        if isinstance(value, list | dict):
            raise _wrong(path, f"{name} must be a text, a number, or true or false.")
        environment.setdefault(variable, str(value).lower() if isinstance(value, bool) else str(value))
    _anchor(environment)
    return path


def misspelt(settings: type[BaseSettings], environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yields a sentence for each variable that looks like one of ours but is never read, with the variable that was probably meant."""
    known = dict(_known(settings))
    ours = {*OTHERS, *(variable for variable, _ in known.values())}
    nested = {f"BINNACLE_{name.upper().replace('.', '__')}" for name in known}  # the longer form, which pydantic reads too
    for name in sorted(set(environment) - ours - nested):
        close = difflib.get_close_matches(name, sorted(ours), n=1, cutoff=ALIKE)
        if close or name.startswith("BINNACLE_"):
            yield f"{name} is not a setting and has no effect.{f' Did you mean {close[0]}?' if close else ''}"


def _capitalize(environment: MutableMapping[str, str], variables: Collection[str]) -> None:
    """Renames settings that are written in lower case, as pydantic takes them, so that every reader finds them."""
    for name in [name for name in environment if name not in variables and name.upper() in variables]:
        value = environment.pop(name)
        environment.setdefault(name.upper(), value)


def _anchor(environment: MutableMapping[str, str]) -> None:
    """Makes relative paths absolute, from the working folder."""
    for variable in PATHS:
        if given := environment.get(variable):
            environment[variable] = str(Path(given).expanduser().absolute())


def _wrong(path: Path, why: str) -> BinnacleError:
    return BinnacleError("settings_invalid", f"{path}: {why}")


def _flat(given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())
        else:
            yield name, value


def _known(settings: type[BaseSettings], before: str = "") -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yields each setting's name in the file, its environment variable, and whether it is a secret."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    for name, field in settings.model_fields.items():
        kind, alias = field.annotation, field.validation_alias
        if isinstance(kind, type) and issubclass(kind, BaseSettings):
            yield from _known(kind, f"{name}.")
            continue
        variable = str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{prefix}{name.upper()}"
        yield f"{before}{name}", (variable, kind is SecretStr)
