"""`download`: downloads a hub model into the model store, before it is inspected. Any worker can resume it."""

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from app.settings import Settings, get_settings
from app.storage.space import hub_cache
from binnacle.words.sizes import bytes_in_words
from terms.specs import DownloadSpec
from workers.job import JobContext, JobFault, Outcome, TransientFault
from workers.lm.errors import ModelFault
from workers.lm.hubfiles import HubModel, fetch, look_up, total_bytes

YIELD_SECONDS = 5.0
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def run(spec: DownloadSpec, context: JobContext) -> Outcome:
    """Spec: `model` (its registered name), `source` (owner/name), `revision` (commit).

    Result: `{"download": {source, revision, files, bytes, fetched_bytes}}`. Raises JobFault hub_denied, hub_not_found, hub_refused, hub_offline,
    hub_token_unreadable, disk_too_small, wrong_revision, no_weights, corrupt_download; TransientFault while the hub is unreachable, the
    connection breaks, or another process downloads the model.
    """
    settings = get_settings()
    token, cache = token_of(settings), hub_cache(settings)
    context.phase("contacting the hub", 1, "questions", share=0.01)
    with said_plainly(spec["source"]):
        model = look_up(spec["source"], spec["revision"], token=token, cache=cache)
    context.progress(1)
    total, missing = total_bytes(model.files), model.missing_bytes()
    check_room(model, missing, cache, settings.min_free_bytes)
    context.phase("downloading", total, "bytes")
    fetched = _fetch_all(model, context, token, total - missing)
    result = {
        "source": model.name,
        "revision": model.revision,
        "files": len(model.files),
        "bytes": total,
        "fetched_bytes": fetched,
    }
    return Outcome(result={"download": result})


def token_of(settings: Settings) -> str | None:
    """The administrator's token for the hub, from a file or the environment; never in the database, a spec or a log. None without a token.
    Raises JobFault hub_token_unreadable."""
    if settings.hub_token_file is not None:
        try:
            return settings.hub_token_file.expanduser().read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            detail = f"BINNACLE_HUB_TOKEN_FILE ({settings.hub_token_file}) cannot be read: {type(error).__name__}."
            raise JobFault("hub_token_unreadable", detail) from error
    return settings.hub_token.get_secret_value() or None


def check_room(model: HubModel, missing: int, cache: Path, kept_free: int) -> None:
    """Raises JobFault disk_too_small, with the arithmetic, when the missing bytes would leave less than `kept_free` bytes on the disk."""
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if missing + kept_free > free:
        detail = (
            f"{bytes_in_words(missing)} of {model.name} to download + {bytes_in_words(kept_free)} that must stay free "
            f"(BINNACLE_MIN_FREE_BYTES) = {bytes_in_words(missing + kept_free)}, but {bytes_in_words(free)} are free at {place}: "
            f"{bytes_in_words(missing + kept_free - free)} are missing. Make room (binnacle gc), or move the store (BINNACLE_HUB_CACHE)."
        )
        raise JobFault(
            "disk_too_small", detail, missing_bytes=missing, min_free_bytes=kept_free, free_bytes=free, folder=str(place)
        )


def _fetch_all(model: HubModel, context: JobContext, token: str | None, present: int) -> int:
    """Downloads the missing files and returns the bytes that arrived; `present` is the number of bytes that are on this machine already."""
    done, fetched, asked = present, 0, time.monotonic()
    context.progress(done)

    def advance(count: int) -> None:
        nonlocal done, fetched, asked
        done, fetched = done + count, fetched + max(0, count)
        context.progress(done)
        if time.monotonic() - asked > YIELD_SECONDS:
            asked = time.monotonic()
            context.may_yield()  # hours of downloading must not delay others' small jobs

    for file in model.files:
        with said_plainly(model.name):
            fetch(model, file, token=token, advance=advance)
    return fetched


@contextmanager
def said_plainly(source: str) -> Iterator[None]:
    """Turns the hub client's errors into permanent or temporary faults of the job. Their texts are not passed on, because they hold
    addresses."""
    try:
        yield
    except ModelFault as fault:
        if fault.code == "busy_elsewhere":
            raise TransientFault(fault.sentence) from fault
        raise JobFault(fault.code, fault.sentence) from fault
    except OfflineModeIsEnabled as error:
        detail = (
            "This server's workers are set to stay offline (HF_HUB_OFFLINE). Copy the model to a folder and register its path."
        )
        raise JobFault("hub_offline", detail) from error
    except GatedRepoError as error:
        raise JobFault("hub_denied", _denied(source, "is gated: its terms must be accepted on the hub")) from error
    except RevisionNotFoundError as error:
        raise JobFault(
            "hub_not_found", f"{source} does not have this commit on the hub. Copy the 40 digits from the hub."
        ) from error
    except RepositoryNotFoundError as error:
        raise JobFault("hub_not_found", _denied(source, "is not on the hub, or is private")) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise JobFault("hub_denied", _denied(source, "was refused")) from error
        if status in PASSING or not status:
            raise TransientFault(f"the hub answers {status or 'nothing'}") from error
        raise JobFault("hub_refused", f"The hub answers {status} for {source}. Check its name and commit.") from error
    except (httpx2.RequestError, JSONDecodeError) as error:  # also redirects in a circle, and a proxy's page in place of JSON
        raise TransientFault(f"the hub cannot be reached, or a proxy answers in its place ({type(error).__name__})") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise JobFault(
                "disk_too_small", "The disk filled up while downloading. The part that arrived is kept: make room and retry."
            ) from error
        raise TransientFault(f"the download was interrupted ({type(error).__name__})") from error


def _denied(source: str, what: str) -> str:
    return (
        f"{source} {what}. An administrator can give the light workers a token that may read it: BINNACLE_HUB_TOKEN_FILE, or "
        "BINNACLE_HUB_TOKEN; then have the model inspected again."
    )
