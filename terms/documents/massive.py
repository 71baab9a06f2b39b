"""What a vector's facts say of the massive dims of its layer."""

from typing import NotRequired

from typing_extensions import TypedDict


class PerDim(TypedDict):
    """One dim's class difference, its z-score, and the share of its square that sampling noise would give by itself."""

    delta: float
    z: float | None
    noise_share: float | None


class OfMassiveDims(TypedDict):
    """What of the vector lies in the layer's massive dims, and the rule that they were listed by. A steering takes it from facts of any version,
    which may lack what is `NotRequired`."""

    rule: NotRequired[str | None]
    dims: list[int]
    share: float
    clean_norm: NotRequired[float]
    noise_share: NotRequired[float | None]
    per_dim: NotRequired[dict[str, PerDim]]


class MassiveFacts(TypedDict):
    """The part of a vector's facts that a steering reads; None for a vector without a calibration."""

    massive: OfMassiveDims | None
