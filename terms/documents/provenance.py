"""How a model read the texts behind a result: in every file's provenance."""

from typing import NotRequired

from typing_extensions import TypedDict


class Reading(TypedDict):
    """`reading_hash` and `proofs_version` are None where the model was not proved; `dequantised_from` names the method that its weights are
    quantised with. Files of earlier versions lack them."""

    reading_hash: NotRequired[str | None]
    proofs_version: NotRequired[int | None]
    dequantised_from: NotRequired[str]
