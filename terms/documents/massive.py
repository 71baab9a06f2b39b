"""Types of a vector's facts about the massive dims of its layer."""

from typing import NotRequired

from typing_extensions import TypedDict


class PerDim(TypedDict):
    """A dim's class difference, its z-score, and the share of its square that sampling noise alone would give."""

    delta: float
    z: float | None
    noise_share: float | None


class OfMassiveDims(TypedDict):
    """The part of a vector in its layer's massive dims, and the rule that chose them.

    A steering reads this from facts of any version, which may lack `NotRequired` keys.
    """

    rule: NotRequired[str | None]
    dims: list[int]
    share: float
    clean_norm: NotRequired[float]
    noise_share: NotRequired[float | None]
    per_dim: NotRequired[dict[str, PerDim]]


class MassiveFacts(TypedDict):
    """The part of a vector's facts that a steering reads; None for a vector without a calibration."""

    massive: OfMassiveDims | None
