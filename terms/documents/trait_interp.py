"""Types of the lines of a steering's results.jsonl, which has the schema of trait-interp: a header, the baseline, then one line per run.

A baseline is the run without steering. Fields that a service has no value for are always None: files, experiments, times.
"""

from typing import Literal

from typing_extensions import TypedDict


class VectorSource(TypedDict):
    """The model and the trait that the vectors are for."""

    model: str
    experiment: None
    trait: str


class HeaderJudge(TypedDict):
    """The judge: its name; `method`, "logprob" if it reads probabilities, else "classifier"; and the hash of its prompts."""

    model: str
    method: str
    trait_judge: str | None


class ResultsHeader(TypedDict):
    """The first line: what was steered and judged. `prompts_hash` is the SHA-256 of the test questions as a JSON list."""

    type: Literal["header"]
    trait: str
    direction: str
    steering_model: str
    steering_experiment: None
    vector_source: VectorSource
    eval: HeaderJudge
    prompts_file: None
    prompts_hash: str
    n_questions: int


class RunScores(TypedDict):
    """Scores of a run, in points from 0 to 100; each is None without an answer that has it. `n` counts the answers with a trait score.

    The trait's mean, minimum and maximum are over these answers, as are `trait_std`, their standard deviation, and `success_rate`, the share
    (0 to 1) above 50. `coherence_mean` is over the answers with a coherence, so it may be a number where `n` is 0. `delta` is the mean gain over
    the baseline in the requested direction, over the questions with a trait score in both runs; trait-interp lacks it.
    """

    trait_mean: float | None
    trait_std: float | None
    success_rate: float | None
    min_score: float | None
    max_score: float | None
    coherence_mean: float | None
    n: int
    delta: float | None


class LineJudge(TypedDict):
    """The hash of the judge's prompts; None for a judge without it."""

    trait_judge: str | None


class ScoredLine(TypedDict):
    """The part of a line that depends on the judge."""

    result: RunScores
    eval: LineJudge
    timestamp: None


class ResultsBaseline(ScoredLine):
    """The second line: the run without steering."""

    type: Literal["baseline"]


class WeightedVector(TypedDict):
    """A vector of a run; `weight` is its coefficient c, with the sign of the push. `position` is None for an imported vector."""

    layer: int
    component: str
    position: str | None
    method: str
    weight: float


class RunConfig(TypedDict):
    """The vectors of a run, one for each layer."""

    vectors: list[WeightedVector]


class ResultsRun(ScoredLine):
    """A further line: a steered run on the test questions."""

    config: RunConfig
