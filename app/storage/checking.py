"""What an operator got wrong about the object store, as one sentence with the remedy. No secret is in it."""

from app.storage.base import Storage, StorageDenied, StorageError
from app.storage.factory import open_storage
from binnacle.errors import BinnacleError


def opened(url: str) -> Storage:
    """The store of `STORAGE_URL`, not asked anything yet. Raises BinnacleError `settings_invalid` for an address that cannot be meant."""
    try:
        return open_storage(url)
    except (ValueError, StorageError) as error:
        raise BinnacleError("settings_invalid", _sentence(error)) from None


def check_bucket(url: str) -> None:
    """Ask a bucket whether it answers us. Raises BinnacleError `settings_invalid`, and `storage_denied` or `storage_unavailable` with what
    to correct. A folder is left to the processes that write to it."""
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
