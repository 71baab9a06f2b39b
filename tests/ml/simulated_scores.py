"""Simulated scores with a known true effect: paired differences of steered and unsteered answers to questions in clusters.

    gain      steered answers show the trait with share p (score 100), unsteered ones never (0): differences of 0 and 100, mean 100 p
    null      both show it with share p, independently: differences of -100, 0 and 100, mean 0
    bimodal   scores of 0-100 around 86 with share p and around 7 else, unsteered around 7

Beta-binomial clusters: each draws its own share from a beta distribution of mean p, so that two of its questions correlate by `icc`.
Shapes: S simulations, K clusters, M questions a cluster.
"""

import numpy as np

from workers.science.linalg import Float

HIGH, BASE = (12.0, 2.0), (1.0, 14.0)  # score / 100 follows these beta distributions: means 0.86 and 0.07


def labels(clusters: int, questions: int) -> list[str]:
    """[K x M] the cluster of each question."""
    return [f"{k:03d}" for k in range(clusters) for _ in range(questions)]


def shown(rng: np.random.Generator, shape: tuple[int, int, int], p: float, icc: float) -> Float:
    """[S, K, M] 1 where an answer shows the trait."""
    share_SK = np.full(shape[:2], p) if icc == 0 else rng.beta(p * (1 - icc) / icc, (1 - p) * (1 - icc) / icc, shape[:2])
    return (rng.random(shape) < share_SK[:, :, None]).astype(np.float64)


def differences(
    kind: str, p: float, icc: float, clusters: int, questions: int, simulations: int, seed: int
) -> tuple[Float, float]:
    """[S, K x M] paired differences in points, and their true mean."""
    rng = np.random.default_rng([seed, clusters, questions, int(1000 * p), int(10 * icc), len(kind)])
    shape = (simulations, clusters, questions)
    steered = shown(rng, shape, p, icc)
    truth = 0.0
    if kind == "gain":
        drawn, truth = 100 * steered, 100 * p
    elif kind == "null":
        drawn = 100 * (steered - shown(rng, shape, p, icc))
    else:
        base, high = 100 * rng.beta(*BASE, size=(2, *shape)), 100 * rng.beta(*HIGH, size=shape)
        drawn, truth = np.where(steered > 0, high, base[0]) - base[1], 100 * p * (HIGH[0] / sum(HIGH) - BASE[0] / sum(BASE))
    return drawn.reshape(simulations, -1), truth
