"""Checks the object store's settings; each error is one sentence with its remedy and contains no secret."""

from app.storage.base import Storage, StorageDenied, StorageError
from app.storage.factory import open_storage
from binnacle.errors import BinnacleError


def opened(url: str) -> Storage:
    """Opens the store at `STORAGE_URL` without contacting a bucket; makes the folders of a file store.

    Raises BinnacleError `settings_invalid` for an invalid address.
    """
    try:
        return open_storage(url)
    except (ValueError, StorageError) as error:
        raise BinnacleError("settings_invalid", _sentence(error)) from None


def check_bucket(url: str) -> None:
    """Checks that a bucket answers. Folders are checked by the processes that write to them.

    Raises BinnacleError `settings_invalid`, and `storage_denied` or `storage_unavailable` with what to correct.
    """
    storage = opened(url)
    if not url.startswith("s3:"):
        return
    try:
        storage.check()
    except StorageDenied as error:
        raise BinnacleError("storage_denied", f"The object store refuses this service. {_sentence(error)}") from None
    except StorageError as error:
        detail = "The object store does not answer. Check the endpoint in STORAGE_URL, and that the store runs."
        raise BinnacleError("storage_unavailable", f"{detail} {_sentence(error)}") from None


def _sentence(error: Exception) -> str:
    return f"{str(error).splitlines()[0].rstrip('.')}."
