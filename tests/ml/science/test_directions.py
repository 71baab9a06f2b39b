"""Extraction methods against something independent: scikit-learn, numpy written out, hand-computed cases, metamorphic properties.

Which method is exactly equivariant under what (X: exact up to float64 rounding, tested below):

| method            | swap classes -> sign | scale rows | permute rows | duplicate rows |
| mean_diff         | X | X | X | X |
| mean_diff_rownorm | X | X | X | X |
| probe             | X | X | X | no: C weighs the data against the penalty, so twice the data is C = 2 |
| pca               | X | X | X | X |
| lda               | X | X | X | X (distinct rows are counted) |
| gradient          | only at its optimum | X | X | X |
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from terms.methods import method, parse_method
from workers.science.degenerate import ClassEmpty, ClassesCoincide, DegenerateRows, NonFiniteRows, NothingLeft, ZeroRows
from workers.science.directions.fitting import Direction, Layer, fit_all, shuffled_labels
from workers.science.examples import Examples
from workers.science.linalg import Float

MASSIVE = 7
KEYS = ["mean_diff", "mean_diff_rownorm", "probe", "pca", "lda"]


def rows(n: int = 40, width: int = 24, seed: int = 0, massive: float = 0.0) -> Float:
    """[2n, width] positives first, a class difference in all dims but the massive one."""
    draw = np.random.default_rng(seed)
    found = draw.standard_normal((2 * n, width))
    shift = draw.standard_normal(width)
    shift[MASSIVE] = 0
    found[:n] += 0.8 * shift
    found[:, MASSIVE] += massive * (1 + 0.1 * draw.standard_normal(2 * n))
    return found


def examples(n: int, clusters: int = 20, held_out: int = 0) -> Examples:
    """`n` examples a class in `clusters` clusters; the first `held_out` clusters are not trained on."""
    names = [f"c{i % clusters}" for i in range(n)]
    train = [i % clusters >= held_out for i in range(n)]
    return Examples.build(names, names, positive_train=train, negative_train=train)


def fitted(values: Float, keys: list[str], described: Examples | None = None, **layer: object) -> dict[str, Direction]:
    own = examples(len(values) // 2) if described is None else described
    found = fit_all(Layer(values.astype(np.float32), own, **layer), [parse_method(key) for key in keys], resamples=0)  # type: ignore[arg-type]
    return {one.key: one for one in found}


def cosine(one: Direction, other: Direction) -> float:
    return float(one.vector_D.astype(np.float64) @ other.vector_D.astype(np.float64))


@pytest.mark.parametrize(("n", "width"), [(40, 24), (12, 200), (100, 8), (4, 30)])
@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_probe_equals_scikit_learn_s_in_all_dimensions(n: int, width: int, strength: float) -> None:
    """With more rows than dims and with fewer; 1e-7 is the error of storing the vector in float32."""
    values = rows(n, width).astype(np.float32).astype(np.float64)
    key = method("probe", {"c": strength}).key
    found = fitted(values, [key])[key]
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    labels = np.r_[np.ones(n), np.zeros(n)]
    theirs = LogisticRegression(C=strength, tol=1e-12, max_iter=20_000).fit(unit, labels)
    wanted = theirs.coef_[0]
    assert float(found.vector_D @ wanted / np.linalg.norm(wanted)) > 1 - 1e-7
    assert found.norm == pytest.approx(np.linalg.norm(wanted), rel=1e-4)
    assert found.fit["bias"] == pytest.approx(theirs.intercept_[0], abs=1e-5)
    assert found.fit["converged"]


def test_the_probe_of_separable_and_duplicated_rows_converges() -> None:
    values = np.repeat(rows(3, 40), 3, axis=0)
    found = fitted(values, ["probe"], examples(9, clusters=3))["probe"]
    assert found.fit["converged"]
    assert found.fit["train_accuracy"] == 1.0


def test_a_fit_that_does_not_converge_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.science.directions.probe.MOST_ITERATIONS", 1)
    assert not fitted(rows(40, 8), ["probe__c10000.0"])["probe__c10000.0"].fit["converged"]


def test_mean_diff_by_hand() -> None:
    values = np.array([[3.0, 0], [1, 2], [0, 0], [0, 2]])
    found = fitted(values, ["mean_diff"], examples(2, clusters=2))["mean_diff"]
    np.testing.assert_allclose(found.vector_D, [1, 0])
    assert found.norm == 2
    assert found.baseline == 1  # halfway between 2 and 0 along the first dim


def test_row_normalisation_alone_makes_the_massive_dim_harmless() -> None:
    """Cosine with the probe is 1.000 for C from 1 to 1e3 on rows with one 1000x dim (0.99 at 1e4), where mean_diff is far from both."""
    values = rows(100, 64, massive=1000.0)
    keys = ["mean_diff", "mean_diff_rownorm", *(f"probe__c{c}" for c in (10.0, 100.0, 10_000.0)), "probe"]
    found = fitted(values, keys)
    assert cosine(found["mean_diff"], found["probe"]) < 0.7
    for key in keys[2:]:
        assert cosine(found["mean_diff_rownorm"], found[key]) > (0.99 if key == "probe__c10000.0" else 0.999)


def test_the_gradient_method_ends_at_mean_diff_and_not_before() -> None:
    values = rows(40, 32)
    found = fitted(values, ["mean_diff", "gradient", "gradient__steps20", "gradient__steps20__seed1"])
    assert cosine(found["gradient"], found["mean_diff"]) > 0.9999
    assert found["gradient"].fit["converged"]
    assert not found["gradient__steps20"].fit["converged"]
    assert cosine(found["gradient__steps20"], found["gradient__steps20__seed1"]) < 0.9


def test_lda_is_the_shrunk_covariance_written_out() -> None:
    values = rows(30, 12).astype(np.float32).astype(np.float64)
    found = fitted(values, ["lda"])["lda"]
    centred = np.concatenate([values[:30] - values[:30].mean(0), values[30:] - values[30:].mean(0)])
    covariance = centred.T @ centred / 60
    shrinkage = found.fit["shrinkage"]
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 12 * np.eye(12)
    wanted = np.linalg.solve(shrunk, values[:30].mean(0) - values[30:].mean(0))
    assert float(found.vector_D @ wanted / np.linalg.norm(wanted)) > 1 - 1e-6


def test_pca_is_the_uncentred_top_direction_of_the_pairs() -> None:
    values = rows(30, 12).astype(np.float32).astype(np.float64)
    found = fitted(values, ["pca"], examples(30, clusters=30))["pca"]
    top = np.linalg.eigh((values[:30] - values[30:]).T @ (values[:30] - values[30:]))[1][:, -1]
    assert abs(float(found.vector_D @ top)) > 1 - 1e-6
    assert float(found.vector_D @ (values[:30].mean(0) - values[30:].mean(0))) > 0


def test_rfm_is_the_mean_outer_product_of_its_machines_slopes() -> None:
    """The kernel machine written out, with slopes by finite differences: an iteration with the identity as metric, then one with its result."""
    values = rows(12, 9)[:, :6].astype(np.float32).astype(np.float64)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    labels, metric = np.r_[np.ones(12), -np.ones(12)], np.eye(6)

    def distances(points: Float, metric: Float) -> Float:
        gaps = points[:, None] - unit[None]
        return np.asarray(np.sqrt(np.maximum(np.einsum("abd,de,abe->ab", gaps, metric, gaps), 0)))

    for iterations in (1, 2):
        apart = distances(unit, metric)
        length = np.median(apart[apart > 1e-9])
        alphas = np.linalg.solve(np.exp(-apart / length) + 1e-3 * np.eye(24), labels)
        step, slopes = 1e-5, np.zeros((24, 6))
        for dim in range(6):
            moved = step * np.eye(6)[dim]
            kernels = [np.exp(-distances(unit + sign * moved, metric) / length) for sign in (1, -1)]
            for kernel in kernels:
                np.fill_diagonal(kernel, 0)  # a row's own kernel has no slope at the row
            slopes[:, dim] = (kernels[0] - kernels[1]) @ alphas / (2 * step)
        metric = slopes.T @ slopes / 24
        metric *= 6 / np.trace(metric)
        [found] = fitted(values, [f"rfm__iterations{iterations}"]).values()
        assert abs(float(found.vector_D @ np.linalg.eigh(metric)[1][:, -1])) > 1 - 1e-4


@pytest.mark.parametrize("key", [*KEYS, "rfm"])
def test_every_method_finds_the_planted_direction(key: str) -> None:
    draw = np.random.default_rng(1)
    values = 0.5 * draw.standard_normal((200, 16))
    values[:100, 2] += 2
    values[100:, 2] -= 2
    found = fitted(values, [key])[key]
    assert abs(float(found.vector_D[2])) > 0.97
    assert float(np.linalg.norm(found.vector_D)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("key", [*KEYS, "gradient", "rfm"])
@pytest.mark.parametrize(("n", "width"), [(2, 40), (4, 8), (100, 3)])
def test_few_rows_and_few_dims_have_a_direction(key: str, n: int, width: int) -> None:
    found = fitted(rows(n, max(width, MASSIVE + 1))[:, :width], [key], examples(n, clusters=n))[key]
    assert float(np.linalg.norm(found.vector_D)) == pytest.approx(1, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), key=st.sampled_from(KEYS))
def test_swapping_the_classes_flips_the_sign(seed: int, key: str) -> None:
    values = rows(10, 12, seed)
    one, other = fitted(values, [key])[key], fitted(np.concatenate([values[10:], values[:10]]), [key])[key]
    assert cosine(one, other) < -1 + 1e-5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), key=st.sampled_from([*KEYS, "gradient__steps50"]), power=st.integers(-10, 10))
def test_scaling_all_rows_leaves_the_unit_vector(seed: int, key: str, power: int) -> None:
    values = rows(10, 12, seed)
    assert cosine(fitted(values, [key])[key], fitted(values * 2.0**power, [key])[key]) > 1 - 1e-5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), key=st.sampled_from(KEYS))
def test_the_order_of_examples_does_not_matter(seed: int, key: str) -> None:
    n, values = 12, rows(12, 10, seed)
    order = np.random.default_rng(seed).permutation(n)
    names = [f"c{i}" for i in range(n)]
    moved = [names[i] for i in order]
    one = fitted(values, [key], Examples.build(names, names))[key]
    other = fitted(np.concatenate([values[order], values[n + order]]), [key], Examples.build(moved, moved))[key]
    assert cosine(one, other) > 1 - 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), key=st.sampled_from(["mean_diff", "mean_diff_rownorm", "pca", "lda"]))
def test_duplicating_all_examples_changes_nothing(seed: int, key: str) -> None:
    n, values = 10, rows(10, 8, seed)
    names = [f"c{i}" for i in range(n)]
    twice = np.concatenate([values[:n], values[:n], values[n:], values[n:]])
    one = fitted(values, [key], Examples.build(names, names))[key]
    other = fitted(twice, [key], Examples.build(names * 2, names * 2))[key]
    assert cosine(one, other) > 1 - 1e-6


def test_each_suffix_zeroes_its_dims() -> None:
    values = rows(massive=50.0)
    order = [MASSIVE, 3, 11, *[d for d in range(24) if d not in (MASSIVE, 3, 11)]]
    keys = [
        "mean_diff",
        "mean_diff_cleaned",
        "mean_diff_preclean",
        "mean_diff_top2",
        "mean_diff_pretop2",
        "mean_diff_largest3",
        "mean_diff_randomdims2",
    ]
    found = fitted(values, [*keys, "probe_cleaned", "probe_preclean"], massive=[MASSIVE], order=order)
    assert found["mean_diff_cleaned"].vector_D[MASSIVE] == 0
    assert cosine(found["mean_diff_cleaned"], found["mean_diff_preclean"]) > 1 - 1e-6  # for means, before and after are equal
    assert cosine(found["probe_cleaned"], found["probe_preclean"]) < 1 - 1e-6  # for the probe they are not
    assert set(np.flatnonzero(found["mean_diff_top2"].vector_D == 0)) == {MASSIVE, 3}
    plain = found["mean_diff"].vector_D.copy()
    plain[MASSIVE] = 0
    assert set(np.flatnonzero(found["mean_diff_largest3"].vector_D == 0)) == set(np.argsort(-np.abs(plain))[:3])
    drawn = found["mean_diff_randomdims2"].fit["zeroed"]
    assert len(drawn) == 2
    assert not set(drawn) & {MASSIVE, 3}


def test_controls_of_the_ablation_spare_the_first_dims_and_the_listed_dims() -> None:
    """A listed dim may stand anywhere in the layer's order by ratio: at 5 of 18 layers of Gemma 3 270M the list does not begin it."""
    listed = {20, 15, 22, 13, 9, MASSIVE}
    order = [3, 20, 11, 0, MASSIVE, *[d for d in range(24) if d not in (3, 20, 11, 0, MASSIVE)]]
    values = rows(massive=50.0)
    values[:40, 15] += 30.0
    keys = {f"mean_diff_{suffix}{n}": n for suffix in ("randomdims", "largest") for n in range(1, 9)}
    found = fitted(values, list(keys), massive=sorted(listed), order=order)
    for key, n in keys.items():
        zeroed = set(found[key].fit["zeroed"])
        assert len(zeroed) == n
        assert not zeroed & listed
        assert "largest" in key or not zeroed & set(order[:n])


def test_a_control_that_must_spare_more_dims_than_are_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the 5 dims"):
        fitted(rows(), ["mean_diff_randomdims5"], massive=[], order=[3, 20, 11, 0])


def test_cleaning_a_model_without_massive_dims_changes_nothing() -> None:
    found = fitted(rows(), ["probe", "probe_cleaned"], massive=[], order=list(range(24)))
    assert np.array_equal(found["probe"].vector_D, found["probe_cleaned"].vector_D)
    assert found["probe_cleaned"].fit["zeroed"] == []


def test_shuffled_labels_keep_the_class_sizes_and_differ_by_seed() -> None:
    found = fitted(rows(), ["probe", "shuffled__of-probe__seed0", "shuffled__of-probe__seed1"])
    one, other = (found[key] for key in found if key.startswith("shuffled"))
    assert abs(cosine(one, found["probe"])) < 0.9
    assert abs(cosine(one, other)) < 0.9


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "from_positive"), [(40, 40, 20), (10, 30, 2), (30, 10, 22), (3, 3, 2), (1, 1, 0)]
)
def test_each_shuffled_class_holds_both_true_classes_in_proportion(n_positive: int, n_negative: int, from_positive: int) -> None:
    true = np.arange(n_positive + n_negative) < n_positive
    labels = shuffled_labels(true, seed=3)
    assert labels.sum() == n_positive
    assert labels[true].sum() == from_positive  # n+^2 / N, rounded


def test_shuffled_labels_do_not_find_a_trait_that_is_most_of_the_variance() -> None:
    values = rows(width=24)
    values[:40] += 20 * np.eye(24)[3]
    found = fitted(values, ["mean_diff", *(f"shuffled__of-mean_diff__seed{seed}" for seed in range(10))])
    true = found.pop("mean_diff")
    assert max(abs(cosine(one, true)) for one in found.values()) < 0.6
    free = [np.random.default_rng(seed).permutation(80) < 40 for seed in range(10)]  # free permutations do
    means = [values[labels].mean(0) - values[~labels].mean(0) for labels in free]
    assert max(abs(mean @ true.vector_D) / np.linalg.norm(mean) for mean in means) > 0.8


def test_the_stored_facts_of_a_vector_equal_a_naive_computation() -> None:
    values = rows(60, 16, massive=20.0).astype(np.float32).astype(np.float64)
    described = examples(60, clusters=20, held_out=4)
    layer = Layer(values.astype(np.float32), described, [MASSIVE], list(range(16)))
    [found] = fit_all(layer, [parse_method("mean_diff")], resamples=200)
    train, held = described.train, ~described.train
    positive, negative = values[train & described.positive], values[train & ~described.positive]
    delta = positive.mean(0) - negative.mean(0)
    unit = delta / np.linalg.norm(delta)
    scores = values[held] @ unit
    labels = described.positive[held]
    assert found.separation is not None
    assert found.separation["accuracy"] == pytest.approx(
        ((scores > unit @ (positive.mean(0) + negative.mean(0)) / 2) == labels).mean()
    )
    wins = [(p > n) + (p == n) / 2 for p in scores[labels] for n in scores[~labels]]
    assert found.separation["auroc"] == pytest.approx(np.mean(wins))
    assert found.massive is not None
    error = positive.var(0, ddof=1) / len(positive) + negative.var(0, ddof=1) / len(negative)
    assert found.massive["share"] == pytest.approx(unit[MASSIVE] ** 2, abs=1e-6)
    assert found.massive["clean_norm"] == pytest.approx(np.sqrt(1 - unit[MASSIVE] ** 2), abs=1e-6)
    assert found.massive["per_dim"][str(MASSIVE)]["z"] == pytest.approx(delta[MASSIVE] / np.sqrt(error[MASSIVE]))
    assert found.massive["noise_share"] == pytest.approx(min(1, error.sum() / (delta**2).sum()))
    assert found.stability is not None
    assert found.stability["cosine_low"] < found.stability["cosine_high"] <= 1


def test_a_refit_is_the_method_on_resampled_clusters() -> None:
    values = rows()
    found = fitted(values, ["mean_diff", "mean_diff__refit1", "mean_diff__refit2"])
    cosines = [cosine(found["mean_diff"], found[f"mean_diff__refit{k}"]) for k in (1, 2)]
    assert all(0.5 < one < 0.99999 for one in cosines)
    assert cosines[0] != cosines[1]
    assert found["mean_diff__refit1"].stability is None


def test_the_same_rows_give_the_same_bits() -> None:
    keys = [*KEYS, "rfm", "gradient__steps30", "shuffled__of-lda__seed1"]
    one, other = fitted(rows(), keys), fitted(rows(), keys)
    assert all(np.array_equal(one[key].vector_D, other[key].vector_D) for key in one)


@pytest.mark.parametrize(
    ("change", "key", "error"),
    [
        (lambda v: np.concatenate([v[:40], v[:40]]), "mean_diff", ClassesCoincide),
        (lambda v: np.where(np.arange(80)[:, None] == 5, np.nan, v), "mean_diff", NonFiniteRows),
        (lambda v: np.where(np.arange(80)[:, None] == 5, 0.0, v), "probe", ZeroRows),
        (lambda _: np.where(np.arange(80)[:, None] < 40, np.eye(24)[MASSIVE], 0.0), "mean_diff_cleaned", NothingLeft),
    ],
)
def test_rows_without_a_direction_are_refused_by_name(
    change: Callable[[Float], Float], key: str, error: type[DegenerateRows]
) -> None:
    with pytest.raises(error):
        fitted(change(rows()), [key], massive=[MASSIVE])


def test_a_class_without_training_examples_is_refused() -> None:
    described = Examples.build(["a", "b"], ["a", "b"], positive_train=[False, False], negative_train=[True, True])
    with pytest.raises(ClassEmpty):
        fitted(rows(2, 8), ["mean_diff"], described)


def test_splits_and_ranks_belong_to_their_own_class() -> None:
    """One split too many in one class and one too few in the other have the right sum, and would mix the classes."""
    with pytest.raises(ValueError, match="positive: give one cluster, one split and one rank for each of 2"):
        Examples.build(["a", "b"], ["a", "b"], positive_train=[True, True, False], negative_train=[True])
