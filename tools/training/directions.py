"""The directions that the card compares, from window means of both classes. All return float32 unit vectors `[D]`."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor


def unit(vector: Tensor) -> Tensor:
    """The vector at norm 1."""
    return vector / vector.norm()


def without(vector: Tensor, dims: list[int]) -> Tensor:
    """The vector with these dims set to 0; not renormalised."""
    out = vector.clone()
    out[dims] = 0
    return out


def mean_diff(positive: Tensor, negative: Tensor) -> Tensor:
    """mean(positive) - mean(negative), unit."""
    return unit((positive.double().mean(0) - negative.double().mean(0)).float())


def rownorm(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean difference of unit rows, unit."""
    return mean_diff(torch.nn.functional.normalize(positive, dim=1), torch.nn.functional.normalize(negative, dim=1))


def probe(positive: Tensor, negative: Tensor) -> Tensor:
    """Coefficients of an L2 logistic regression (C = 1, no centring) on unit rows, unit."""
    rows = torch.nn.functional.normalize(torch.cat([positive, negative]).double(), dim=1).numpy()
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    with threadpool_limits(1):
        fit = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(rows, labels)
    return unit(torch.tensor(fit.coef_[0], dtype=torch.float64)).float()


def random_direction(width: int, seed: int) -> Tensor:
    """N(0, I) from the seed, unit."""
    return unit(torch.randn(width, generator=torch.Generator().manual_seed(seed)))


def shuffled(positive: Tensor, negative: Tensor, seed: int) -> Tensor:
    """mean_diff after the labels were shuffled within each class: both shuffled classes hold the true ones in equal shares.

    Labels permuted freely agree with the true ones by chance, and where the trait is most of the variance that is most of the vector.
    """
    draw = torch.Generator().manual_seed(seed)
    halves = [rows[torch.randperm(len(rows), generator=draw)].chunk(2) for rows in (positive, negative)]
    return mean_diff(torch.cat([one for one, _ in halves]), torch.cat([other for _, other in halves]))


def cosine(one: Tensor, other: Tensor) -> float:
    """Cosine of two vectors."""
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))
