"""The scan over features holds its level and finds what is planted; the dense probe is scikit-learn's."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from dossier import probing

SEED = "0123456789abcdef"
LABELS = [1] * 12 + [0] * 18
PINNED = [[0, 3, 1, 2, 5, 4], [3, 0, 2, 5, 1, 4]]


def normal(seed: int, *shape: int):
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_correlation_is_pearsons_and_moves_with_students_t():
    scores = normal(1, 30, 4)
    found = probing.max_t_permutation(scores, LABELS, seed=SEED, permutations=10).correlations
    assert found == pytest.approx([stats.pearsonr(column, LABELS).statistic for column in scores.T])
    t = [stats.ttest_ind(column[:12], column[12:]).statistic for column in scores.T]
    assert found / np.sqrt(1 - found**2) * math.sqrt(28) == pytest.approx(t)


def test_the_p_values_are_those_of_the_maximum_over_the_listed_permutations():
    scores, permutations = normal(2, 30, 5), 200
    scan = probing.max_t_permutation(scores, LABELS, seed=SEED, permutations=permutations)
    maxima = []
    for order in probing.permutation_orders(SEED, 30, permutations):
        permuted = np.array(LABELS)[order]
        maxima.append(max(abs(stats.pearsonr(column, permuted).statistic) for column in scores.T))
    assert scan.null_maxima == pytest.approx(sorted(maxima))
    expected = [(1 + sum(m >= abs(r) for m in maxima)) / (1 + permutations) for r in scan.correlations]
    assert scan.p_values.tolist() == expected


def test_a_planted_feature_is_found_among_many_and_no_other():
    scores = normal(3, 60, 800)
    labels = np.arange(60) < 25
    scores[:, 417] += 2 * labels
    scan = probing.max_t_permutation(scores, labels, seed=SEED, permutations=400)
    assert np.flatnonzero(scan.p_values <= 0.05).tolist() == [417]
    assert scan.p_values[417] == 1 / 401
    assert scan.correlations[417] > 0.5


def test_the_whole_family_of_tests_holds_its_level():
    """300 scans of 20 unrelated features each: the Monte Carlo standard error of a rate of 0.1 is 0.017."""
    false = 0
    for study in range(300):
        scan = probing.max_t_permutation(
            normal(1000 + study, 20, 20), [1] * 8 + [0] * 12, seed=f"{study:016x}", permutations=99
        )
        false += scan.p_values.min() <= 0.1
    assert false / 300 == pytest.approx(0.1, abs=3 * 0.017)


def test_scale_shift_and_sign_of_a_feature_change_no_p_value():
    scores = normal(4, 30, 6)
    scan = probing.max_t_permutation(scores, LABELS, seed=SEED, permutations=150)
    moved = probing.max_t_permutation(scores * [1, 2, -3, 1e4, 1e-4, 5] + 100, LABELS, seed=SEED, permutations=150)
    assert moved.p_values.tolist() == scan.p_values.tolist()
    turned = probing.max_t_permutation(scores, [1 - label for label in LABELS], seed=SEED, permutations=150)
    assert turned.p_values.tolist() == scan.p_values.tolist()
    assert turned.correlations == pytest.approx(-scan.correlations)


def test_many_features_do_not_change_the_draws():
    scores = normal(5, 30, 3)
    narrow = probing.max_t_permutation(scores, LABELS, seed=SEED, permutations=60)
    padding = np.zeros((30, probing.CHUNK // 25))  # makes the products come in chunks of about 25 permutations
    wide = probing.max_t_permutation(np.hstack([scores, padding]), LABELS, seed=SEED, permutations=60)
    assert wide.p_values[:3].tolist() == narrow.p_values.tolist()
    assert wide.null_maxima == pytest.approx(narrow.null_maxima)
    assert (wide.p_values[3:] == 1).all()


def test_a_constant_feature_says_nothing_and_a_perfect_one_is_no_surer_than_the_permutations():
    scores = np.column_stack([np.full(30, 0.1), LABELS])
    scan = probing.max_t_permutation(scores, LABELS, seed=SEED, permutations=50)
    assert scan.correlations == pytest.approx([0, 1])
    assert scan.p_values.tolist() == [1, 1 / 51]
    again = probing.max_t_permutation(np.array([[1.0], [0.0]]), [1, 0], seed=SEED, permutations=50)
    assert again.p_values.tolist() == [1.0]  # with two items every permutation is as extreme


def test_a_scan_without_both_labels_is_none_and_impossible_input_an_error():
    assert probing.max_t_permutation(normal(6, 5, 2), [1] * 5, seed=SEED, permutations=9) is None
    assert probing.max_t_permutation(np.zeros((4, 0)), [1, 0, 1, 0], seed=SEED, permutations=9).p_values.size == 0
    for scores, labels in (
        (normal(6, 5, 2), [1, 0]),
        (normal(6, 2, 2), [1, 2]),
        ([1.0, 2.0], [1, 0]),
        ([[math.inf]], [1]),
    ):
        with pytest.raises(ValueError):
            probing.max_t_permutation(scores, labels, seed=SEED, permutations=9)
    with pytest.raises(ValueError, match="permutations"):
        probing.max_t_permutation(normal(6, 4, 2), [1, 0, 1, 0], seed=SEED, permutations=0)


def test_every_order_comes_about_equally_often():
    orders = probing.permutation_orders(SEED, 4, 24_000)
    counts = Counter(map(tuple, orders.tolist()))
    assert set(counts) == set(itertools.permutations(range(4)))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_orders_are_raw_words_scaled_down():
    words = [int(word) for word in np.random.PCG64(int(SEED, 16)).random_raw(12)]
    for row in range(2):
        places = list(range(7))
        for word, place in zip(words[6 * row : 6 * row + 6], range(6, 0, -1), strict=True):
            other = (word // 2**32) * (place + 1) // 2**32
            places[other], places[place] = places[place], places[other]
        assert probing.permutation_orders(SEED, 7, 2)[row].tolist() == places


def test_the_stream_of_orders_is_pinned_and_longer_runs_begin_alike():
    assert probing.permutation_orders(SEED, 6, 2).tolist() == PINNED
    assert probing.permutation_orders(SEED, 6, 5)[:2].tolist() == PINNED
    assert probing.permutation_orders(SEED, 1, 3).tolist() == [[0]] * 3
    assert probing.permutation_orders(SEED, 0, 3).shape == (3, 0)


def labelled(seed: int, items: int, features: int, scale: float = 1.0):
    scores = normal(seed, items, features)
    return scale * scores, (scores[:, 0] + 0.7 * normal(seed + 1, items) > 0.3).astype(int)


@pytest.mark.parametrize(("items", "features"), [(200, 5), (40, 40), (30, 120)])
@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_the_probe_agrees_with_scikit_learn(items, features, ridge):
    scores, labels = labelled(7, items, features)
    probe = probing.linear_probe(scores, labels, ridge=ridge)
    reference = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(scores, labels)
    assert probe.weights == pytest.approx(reference.coef_[0], abs=1e-7)
    assert probe.bias == pytest.approx(reference.intercept_[0], abs=1e-7)


@pytest.mark.parametrize(
    ("items", "features", "ridge", "scale"),
    [(60, 4, 1e-3, 1.0), (25, 90, 0.5, 1.0), (60, 4, 1.0, 300.0), (20, 2, 1e-6, 1.0)],
)
def test_at_the_probe_the_loss_is_flat(items, features, ridge, scale):
    scores, labels = labelled(8, items, features, scale)
    probe = probing.linear_probe(scores, labels, ridge=ridge)
    excess = 1 / (1 + np.exp(-(scores @ probe.weights + probe.bias))) - labels
    assert scores.T @ excess + ridge * probe.weights == pytest.approx(np.zeros(features), abs=1e-7 * scale)
    assert excess.sum() == pytest.approx(0, abs=1e-7)


def test_more_features_than_items_change_nothing_but_the_road():
    scores, labels = labelled(9, 30, 31)
    wide = probing.linear_probe(scores, labels, ridge=1.0)
    tall = probing.linear_probe(np.vstack([scores, scores]), [*labels, *labels], ridge=2.0)  # the same loss, twice
    assert wide.weights == pytest.approx(tall.weights, abs=1e-9)
    assert wide.bias == pytest.approx(tall.bias, abs=1e-9)


def test_separable_labels_have_a_probe_and_it_is_the_same_each_time():
    scores = np.array([[-3.0, 1.0], [-2.0, -1.0], [2.0, 1.0], [3.0, -1.0]]) * 50
    first, again = (probing.linear_probe(scores, [0, 0, 1, 1], ridge=1e-4) for _ in range(2))
    assert ((scores @ first.weights + first.bias > 0) == [False, False, True, True]).all()
    assert first.weights.tolist() == again.weights.tolist()


def test_full_newton_steps_would_run_away_here_and_halved_ones_arrive():
    scores, labels = np.array([[2.0, -76.0], [5.0, -79.0], [1.0, 69.0], [9.0, 26.0]]), np.array([0, 1, 0, 1])
    probe = probing.linear_probe(scores, labels, ridge=1e-4)
    reference = LogisticRegression(C=1e4, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(scores, labels)
    assert probe.weights == pytest.approx(reference.coef_[0], rel=1e-6)
    assert probe.bias == pytest.approx(reference.intercept_[0], rel=1e-6)


def test_what_doubles_cannot_hold_is_an_error_and_no_probe():
    with pytest.raises(ArithmeticError, match="no minimum"):
        probing.linear_probe([[1.0, 1.0], [-1.0, -1.0], [2.0, 2.0], [1.0, 1.0]], [1, 0, 0, 0], ridge=1e-30)


def test_features_that_say_nothing_leave_the_base_rate():
    probe = probing.linear_probe(np.zeros((10, 3)), [1] * 3 + [0] * 7, ridge=1.0)
    assert probe.weights.tolist() == [0, 0, 0]
    assert probe.bias == pytest.approx(math.log(3 / 7))


def test_a_probe_without_both_labels_is_none_and_one_without_a_ridge_an_error():
    assert probing.linear_probe(normal(10, 5, 2), [0] * 5, ridge=1.0) is None
    for ridge in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="ridge"):
            probing.linear_probe(normal(10, 4, 2), [0, 1, 0, 1], ridge=ridge)


@pytest.mark.parametrize("shape", [(50, 4), (6, 40), (2, 3)])
def test_the_first_components_share_agrees_with_scikit_learn(shape):
    matrix = normal(11, *shape) * np.arange(1, shape[1] + 1) + 7
    expected = PCA().fit(matrix).explained_variance_ratio_[0]
    assert probing.first_component_share(matrix) == pytest.approx(expected)
    assert probing.first_component_share(3 * matrix - 100) == pytest.approx(expected)


def test_one_line_is_one_component_and_nothing_that_varies_is_none():
    assert probing.first_component_share(np.outer(np.arange(9), [1, 2, 3])) == pytest.approx(1)
    assert probing.first_component_share(np.full((5, 3), 0.1)) is None
    assert probing.first_component_share([[1.0, 2.0]]) is None
    assert probing.first_component_share(np.zeros((0, 3))) is None
    with pytest.raises(ValueError, match="finite"):
        probing.first_component_share([[math.nan, 1.0]])
