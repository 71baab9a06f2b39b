"""How a model read the texts behind a result; part of every file's provenance."""

from typing import NotRequired

from typing_extensions import TypedDict


class Reading(TypedDict):
    """How texts were read. `reading_hash` and `proofs_version` are None if the model was not proved.

    `dequantised_from` names the method with which the weights are quantised. Files of earlier versions lack these keys.
    """

    reading_hash: NotRequired[str | None]
    proofs_version: NotRequired[int | None]
    dequantised_from: NotRequired[str]
