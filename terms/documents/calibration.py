"""Types of calibration.json (docs/science.md, 2). Keys of objects are layers and dims as text."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.provenance import Reading


class DimAtLayer(TypedDict):
    """The size a = abs(h[dim]) of a dim at a layer, over response tokens; b is the mean size of the median dim.

    `ratio`: mean of a / b. `cv`: standard deviation of a / mean of a. `p5_ratio`: 5th percentile of a / b. `pct_above_10x`: % of tokens with
    a > 10 b.
    """

    ratio: float
    cv: float
    p5_ratio: float
    pct_above_10x: float


class MassiveDims(TypedDict):
    """Every dim that is massive at some layer, and the rule that chose them."""

    rule: str
    dims: list[int]


class Emergence(TypedDict):
    """Where a dim emerges. `plateau`: the captured layers with at least half of its largest ratio_to_median; `first`: the first of these layers.
    `falls`: the next captured layer after the last of them; None if there is none.
    """

    first: int
    plateau: list[int]
    falls: int | None


class DimLocation(TypedDict):
    """Where a dim is largest, over all tokens of the prompts.

    `largest`: its largest absolute value. `above_30x`: the share of prompts with a max_to_entry_median above 30. The other fields: the shares of
    prompts with the largest value at the first token, at the first delimiter, and at another token.
    """

    largest: float
    above_30x: float
    first_token: float
    first_delimiter: float
    elsewhere: float


class Ratios(TypedDict):
    """The four ratios of a dim (docs/science.md, 2.3), each the median over the middle layers."""

    ratio_to_median: float
    ratio_to_mean: float
    max_to_median: float
    max_to_entry_median: float


class Thresholds(TypedDict):
    """The limits behind the default list of massive dims, the verdict, the scope and `location`."""

    massive_ratio_to_median: float
    massive_share_left: float
    massive_min_layers: int
    verdict_mild: float
    verdict_severe: float
    every_token_pct_above_10x: float
    located_max_to_entry_median: float
    located_share_of_prompts: float


class Severity(TypedDict):
    """The dominant dim, medians of its numbers and of the alignment over the middle layers (`layers`), and the verdict on severity."""

    dominant_dim: int
    ratios: Ratios
    share_of_squared_norm: float
    mean_alignment: float
    pct_above_10x: float
    layers: list[int]
    scope: str
    verdict: str
    thresholds: Thresholds


class Aggregate(TypedDict):
    """The measurements. A file of schema 1 lacks the `NotRequired` keys."""

    n_prompts: int
    mean_alignment_by_layer: dict[str, float]
    top_dims_by_layer: dict[str, list[int]]
    ratio_order_by_layer: NotRequired[dict[str, list[int]]]
    dim_magnitude_by_layer: dict[str, list[float]]
    layer_norms: dict[str, float]
    attn_norms: dict[str, float]
    mlp_norms: dict[str, float]
    consecutive_cosine: dict[str, float]
    per_layer: dict[str, dict[str, DimAtLayer]]
    massive_dims: MassiveDims
    massive_by_layer: NotRequired[dict[str, list[int]]]
    norm_share: dict[str, dict[str, float]]
    emergence: NotRequired[dict[str, Emergence]]
    margin: NotRequired[dict[str, float]]
    clean_norms: dict[str, float]
    location: dict[str, dict[str, DimLocation]]
    severity: Severity


class Decoding(TypedDict):
    """How the answers were generated."""

    greedy: bool
    near_tie: float


class StatisticsPlan(TypedDict):
    """How many rows one batch of the statistics holds."""

    statistics_rows: int


class CalibrationProvenance(Reading):
    """The origin of the numbers. `model_revision` is the pinned commit of a hub model, None for a local folder."""

    model_source: str
    model_revision: str | None
    weight_hash: str
    tokenizer_hash: str
    prompts_hash: str
    prompts: int
    prompt_tokens: int
    response_tokens: int
    max_new_tokens: int
    special_tokens: NotRequired[str]
    decoding: Decoding
    layers: list[int]
    model_layers: int
    hidden_size: int
    dtype: str
    device: str
    versions: dict[str, str]
    batch_plan: StatisticsPlan
    threads: int


class CalibrationDocument(TypedDict):
    """The whole calibration.json."""

    schema_version: int
    experiment: str
    model: str
    model_variant: str
    prompt_set: str
    is_calibration: bool
    provenance: CalibrationProvenance
    aggregate: Aggregate


class CalibrationResult(Reading):
    """A calibration job's stored result, without the id that the service adds. `layers` is the number of captured layers."""

    schema_version: int
    severity: Severity
    massive_dims: MassiveDims
    weight_hash: str
    n_prompts: int
    layers: int
    model_variant: str
