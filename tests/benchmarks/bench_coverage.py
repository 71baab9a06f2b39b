"""How often the 95 % intervals hold the truth, on simulated scores (tests/ml/simulated_scores.py), and how wide they are.

    python -m tests.benchmarks.bench_coverage [--simulations 4000]

Prints the tables of tests/benchmarks/coverage.md. Everything is seeded; no model is run.
"""

# ruff: noqa: T201 - it prints
import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import t as student

from tests.ml.simulated_scores import differences, labels
from workers.science import exact
from workers.science.clusters import Clustering, resample_counts
from workers.science.contrasts import simultaneous
from workers.science.intervals import paired_interval, two_level
from workers.science.linalg import Float

SIZES = (20, 30, 60)  # clusters
DESIGNS = ((0.0, 1), (0.0, 2), (0.0, 4), (0.5, 2), (0.5, 4))  # correlation within a cluster, questions a cluster
KINDS = [
    (kind, p)
    for kind, shares in (("gain", (0.02, 0.1, 0.5)), ("null", (0.02, 0.1, 0.5)), ("bimodal", (0.1, 0.3, 0.5)))
    for p in shares
]
ALLOWED = {20: (91.0, 98.0), 30: (91.0, 98.0), 60: (93.0, 97.0)}  # percent held, by clusters; others get a *


def coverage(
    kind: str, p: float, icc: float, clusters: int, questions: int, simulations: int
) -> tuple[float, float, float, float]:
    """Percent held, percent below and above the truth, mean width."""
    drawn, truth = differences(kind, p, icc, clusters, questions, simulations, seed=1)
    names = labels(clusters, questions)
    found = [paired_interval(row, names) for row in drawn]
    limits = np.array([(one.low, one.high) for one in found if one is not None])
    above, below = 100 * float((limits[:, 0] > truth + 1e-9).mean()), 100 * float((limits[:, 1] < truth - 1e-9).mean())
    return 100 - above - below, below, above, float((limits[:, 1] - limits[:, 0]).mean())


def main_table(simulations: int) -> Iterator[str]:
    yield "| scores | p | correlation | questions a cluster | " + " | ".join(f"{k} clusters" for k in SIZES) + " |"
    yield "|" + "---|" * (4 + len(SIZES))
    for kind, p in KINDS:
        for icc, questions in DESIGNS:
            cells = []
            for clusters in SIZES:
                held, below, above, width = coverage(kind, p, icc, clusters, questions, simulations)
                low, high = ALLOWED[clusters]
                mark = "" if low <= round(held, 1) <= high else " *"
                cells.append(f"{held:.1f} ({below:.1f}, {above:.1f}) {width:.0f}{mark}")
            yield f"| {kind} | {p} | {icc} | {questions} | " + " | ".join(cells) + " |"


def percentile_twice(row: Float, clustering: Clustering, rng: np.random.Generator) -> tuple[float, float]:
    """Clusters, then questions inside them, each with replacement; the percentiles of the means."""
    clusters, questions = clustering.clusters, len(row) // clustering.clusters
    drawn = rng.integers(0, clusters, (1000, clusters, 1)) * questions + rng.integers(0, questions, (1000, clusters, questions))
    low, high = np.quantile(row[drawn].mean(axis=(1, 2)), (0.025, 0.975))
    return float(low), float(high)


def percentile(row: Float, clustering: Clustering, _rng: np.random.Generator) -> tuple[float, float]:
    """Clusters with all their questions; the percentiles of the means."""
    counts = resample_counts(clustering.clusters, 4000, 0)
    low, high = np.quantile(counts @ clustering.sums(row) / (counts @ clustering.size_K), (0.025, 0.975))
    return float(low), float(high)


def student_t(row: Float, clustering: Clustering, _rng: np.random.Generator) -> tuple[float, float]:
    """Mean -+ t standard errors over clusters."""
    half = float(student.ppf(0.975, clustering.clusters - 1)) * float(clustering.standard_error(row))
    return float(row.mean()) - half, float(row.mean()) + half


def studentised(row: Float, clustering: Clustering, _rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap-t over clusters; a resample in which no cluster differs has an infinite t."""
    counts = resample_counts(clustering.clusters, 4000, 0)
    sums, sizes, clusters = clustering.sums(row), clustering.size_K, clustering.clusters
    means = counts @ sums / (counts @ sizes)
    pulls = sums[None] - means[:, None] * sizes[None]
    errors = np.sqrt((counts * pulls**2).sum(1) * clusters / (clusters - 1)) / (counts @ sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        pivots = np.nan_to_num((means - row.mean()) / errors, nan=0.0, posinf=1e6, neginf=-1e6)
    high, low = np.quantile(pivots, (0.025, 0.975))
    error = float(clustering.standard_error(row))
    return max(-100.0, float(row.mean() - low * error)), min(100.0, float(row.mean() - high * error))


OTHERS: dict[str, Callable[[Float, Clustering, np.random.Generator], tuple[float, float]]] = {
    "percentile": percentile,
    "clusters, then questions": percentile_twice,
    "studentised": studentised,
    "Student's t": student_t,
}


def other_methods(simulations: int) -> Iterator[str]:
    yield "| scores | p | correlation | questions | ours | " + " | ".join(OTHERS) + " |"
    yield "|" + "---|" * (5 + len(OTHERS))
    for kind, p, icc, questions in (
        ("gain", 0.1, 0.5, 2),
        ("null", 0.1, 0.5, 4),
        ("bimodal", 0.1, 0.0, 2),
        ("bimodal", 0.3, 0.0, 4),
        ("gain", 0.5, 0.0, 4),
    ):
        drawn, truth = differences(kind, p, icc, 20, questions, simulations, seed=1)
        clustering, rng = Clustering.of(labels(20, questions)), np.random.default_rng(1)
        held, _, _, width = coverage(kind, p, icc, 20, questions, simulations)
        cells = [f"{held:.1f} / {width:.0f}"]
        for method in OTHERS.values():
            limits = np.array([method(row, clustering, rng) for row in drawn])
            inside = (limits[:, 0] <= truth + 1e-9) & (limits[:, 1] >= truth - 1e-9)
            cells.append(f"{100 * inside.mean():.1f} / {(limits[:, 1] - limits[:, 0]).mean():.0f}")
        yield f"| {kind} | {p} | {icc} | {questions} | " + " | ".join(cells) + " |"


def contrasts_table(simulations: int) -> Iterator[str]:
    """How often all of J contrasts against one method hold the truth, 0 for each; a quarter of the simulations, for each fits J intervals."""
    yield "| contrasts | clusters | all hold, simultaneous | all hold, each at 95 % |"
    yield "|---|---|---|---|"
    for contrasts in (3, 8):
        for clusters in (20, 60):
            rng, names = np.random.default_rng([2, contrasts, clusters]), labels(clusters, 2)
            together = alone = 0
            for _ in range(simulations // 4):
                scores = 100.0 * (rng.random((contrasts + 1, clusters, 2)) < rng.beta(2, 2, (clusters, 1)))
                gaps = {str(j): (scores[j + 1] - scores[0]).reshape(-1) for j in range(contrasts)}
                together += all(one is not None and not one.excludes_zero() for one in simultaneous(gaps, names).values())
                each = [paired_interval(gap, names) for gap in gaps.values()]
                alone += all(one is not None and not one.excludes_zero() for one in each)
            yield f"| {contrasts} | {clusters} | {400 * together / simulations:.1f} | {400 * alone / simulations:.1f} |"


def two_level_table(simulations: int) -> Iterator[str]:
    """How often an interval from one extraction set and its bootstrap refits holds 10, the mean effect over such sets."""
    yield "| refits | sd among extraction sets | two-level | questions alone |"
    yield "|---|---|---|---|"
    for refits in (5, 10):
        for among_sets in (0.0, 5.0, 15.0):
            rng, names = np.random.default_rng([3, refits, int(among_sets)]), labels(30, 2)
            held = alone = 0
            for _ in range(simulations):
                own = 10 + among_sets * rng.standard_normal()
                refit_R1 = own + among_sets * rng.standard_normal((refits, 1))
                rows = np.clip(
                    refit_R1 + np.repeat(15 * rng.standard_normal(30), 2) + 15 * rng.standard_normal((refits, 60)), -100, 100
                )
                both, questions = two_level(rows, names), paired_interval(rows.mean(0), names, resamples=400)
                held += both is not None and both.low <= 10 <= both.high
                alone += questions is not None and questions.low <= 10 <= questions.high
            yield f"| {refits} | {among_sets:g} | {100 * held / simulations:.1f} | {100 * alone / simulations:.1f} |"


def unequal(rng: np.random.Generator, clusters: int, sigma: float) -> tuple[list[str], Callable[[Float], Float]]:
    """Labels of clusters of 1 to 80 questions, lognormal, and a function that gives each question its cluster's value."""
    size_K = np.clip(np.round(np.exp(rng.normal(0.7, sigma, clusters))), 1, 80).astype(int)
    index_Q = np.repeat(np.arange(clusters), size_K)
    return [str(one) for one in index_Q], lambda values_K: values_K[index_Q]


def unequal_table(simulations: int) -> Iterator[str]:
    """How often intervals hold the truth with clusters of unequal sizes and correlation 0.5; a twentieth of the simulations."""
    yield "| clusters | sigma | gain 5 % | gain 10 % | gain 50 % | null 30 % | continuous | table of six |"
    yield "|---|---|---|---|---|---|---|---|"
    runs = max(1, simulations // 20)
    for clusters in (20, 30, 40):
        for sigma in (1.0, 1.5):
            rng, held = np.random.default_rng([4, clusters, int(10 * sigma)]), np.zeros(6)
            for _ in range(runs):
                names, of = unequal(rng, clusters, sigma)

                def shares(p: float, names: list[str] = names, of: Callable[[Float], Float] = of) -> Float:
                    return 100.0 * (rng.random(len(names)) < of(rng.beta(p, 1 - p, clusters)))  # noqa: B023 - used at once

                def values(names: list[str] = names, of: Callable[[Float], Float] = of) -> Float:
                    return np.clip(of(rng.normal(0, 10, clusters)) + rng.normal(0, 10, len(names)), -100, 100)  # noqa: B023

                singles = [(shares(p), 100 * p) for p in (0.05, 0.1, 0.5)] + [(shares(0.3) - shares(0.3), 0.0), (values(), 0.0)]
                for i, (row, truth) in enumerate(singles):
                    found = paired_interval(row, names)
                    held[i] += found is not None and found.low - 1e-9 <= truth <= found.high + 1e-9
                six = simultaneous({str(j): values() for j in range(6)}, names)
                held[5] += all(one is not None and not one.excludes_zero() for one in six.values())
            yield f"| {clusters} | {sigma} | " + " | ".join(f"{100 * one / runs:.1f}" for one in held) + " |"


def speed() -> Iterator[str]:
    rng, names = np.random.default_rng(0), labels(60, 2)
    rows = {"bca": 100 * rng.beta(1, 1, 120), "exact": np.where(rng.random(120) < 0.03, 100.0, 0.0)}
    for name, row in rows.items():
        assert (found := paired_interval(row, names)) is not None
        assert found.method == name
        started = time.perf_counter()
        for seed in range(100):
            paired_interval(row, names, seed=seed % 4)
        yield f"{name}, 60 clusters: {10 * (time.perf_counter() - started):.2f} ms (4,000 resamples, drawn once for a seed)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the intervals.")
    parser.add_argument("--simulations", type=int, default=4000)
    simulations = parser.parse_args().simulations
    print(f"{simulations} simulations a cell; EQUAL_WITHIN {exact.EQUAL_WITHIN:g} point\n")
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "Coverage": lambda: main_table(simulations),
        "Other methods at 20 clusters": lambda: other_methods(simulations // 2),
        "Contrasts": lambda: contrasts_table(simulations),
        "Clusters of unequal sizes": lambda: unequal_table(simulations),
        "Two levels": lambda: two_level_table(simulations),
        "Speed": speed,
    }
    for title, lines in tables.items():
        print(f"## {title}\n", flush=True)
        for line in lines():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
