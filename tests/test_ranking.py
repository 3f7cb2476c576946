"""Scores, rankings and selections: agreement with other implementations, the laws they keep, and measured coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit, ndtr, ndtri
from sklearn.metrics import roc_auc_score
from statsmodels.stats.meta_analysis import effectsize_smd

from dossier import comparison, ranking, statistics

SCORES = st.lists(st.integers(-20, 20), min_size=1, max_size=25)  # many ties
GROUPS = [([1, 2, 3], [0, 2]), ([0.1, 0.9, 0.4, 0.4], [0.4, 0.2, 0.1]), ([5, 5, 5, 6], [5, 5, 1, 9]), ([1.0], [2.0])]


@pytest.mark.parametrize(("positive", "negative"), GROUPS)
def test_auroc_agrees_with_scikit_learn_and_the_mann_whitney_statistic(positive, negative):
    area = ranking.auroc(positive, negative)
    labels = [1] * len(positive) + [0] * len(negative)
    assert area == pytest.approx(roc_auc_score(labels, [*positive, *negative]), abs=1e-15)
    pairs = len(positive) * len(negative)
    assert area == pytest.approx(stats.mannwhitneyu(positive, negative).statistic / pairs, abs=1e-15)


@given(SCORES, SCORES, st.randoms(use_true_random=False))
def test_auroc_and_its_interval_hang_on_ranks_alone(positive, negative, random):
    area, limits = ranking.auroc(positive, negative), ranking.auroc_interval(positive, negative)
    stretched = [
        [math.exp(score / 3) - 7 for score in random.sample(group, len(group))] for group in (positive, negative)
    ]
    assert ranking.auroc(*stretched) == area
    assert ranking.auroc_interval(*stretched) == limits


@given(SCORES, SCORES)
def test_auroc_turns_with_the_groups(positive, negative):
    low, high = ranking.auroc_interval(positive, negative)
    assert ranking.auroc(negative, positive) == pytest.approx(1 - ranking.auroc(positive, negative), abs=1e-15)
    assert ranking.auroc_interval(negative, positive) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(SCORES, SCORES, st.data())
def test_a_better_positive_never_lowers_auroc(positive, negative, data):
    place = data.draw(st.integers(0, len(positive) - 1))
    better = [score + (5 if other == place else 0) for other, score in enumerate(positive)]
    assert ranking.auroc(better, negative) >= ranking.auroc(positive, negative)


def kernel(positive, negative):
    """Return DeLong's structural components, from all pairs."""
    above, below = np.asarray(positive)[:, None], np.asarray(negative)[None, :]
    wins = (above > below) + 0.5 * (above == below)
    return wins.mean(axis=1), wins.mean(axis=0)


def delong(positive, negative, level=0.95):
    """Return the logit interval with DeLong's variance and nothing else."""
    by_positive, by_negative = kernel(positive, negative)
    variance = by_positive.var(ddof=1) / len(positive) + by_negative.var(ddof=1) / len(negative)
    area = by_positive.mean()
    half = ndtri(0.5 + level / 2) * variance**0.5 / (area * (1 - area))
    return expit(logit(area) - half), expit(logit(area) + half)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=25), st.lists(st.integers(-9, 9), min_size=2, max_size=25))
def test_delongs_variance_by_ranks_is_the_one_over_all_pairs(positive, negative):
    by_positive, by_negative = kernel(positive, negative)
    expected = by_positive.var(ddof=1) / len(positive) + by_negative.var(ddof=1) / len(negative)
    assert ranking.auroc_variance(positive, negative) == pytest.approx(expected, abs=1e-15)


def test_the_variance_is_the_spread_of_auroc_over_samples():
    rng = np.random.default_rng(1)
    groups = [(rng.standard_normal(40) + 1, 2 * rng.standard_normal(25)) for _ in range(1500)]
    spread = np.var([ranking.auroc(*pair) for pair in groups])
    assert np.mean([ranking.auroc_variance(*pair) for pair in groups]) == pytest.approx(
        spread, rel=0.12
    )  # 3 standard errors


def test_the_variance_is_exactly_none_where_all_are_alike_and_unknown_for_one_item():
    assert ranking.auroc_variance([0.1] * 7, [0.1] * 3) == 0.0
    assert ranking.auroc_variance([2, 3, 4], [0, 1]) == 0.0
    assert ranking.auroc_variance([1], [0, 2]) is None


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_is_delongs_where_its_variance_can_be_trusted(level):
    rng = np.random.default_rng(2)
    positive, negative = rng.standard_normal(200) + 1, rng.standard_normal(200)
    assert ranking.auroc_interval(positive, negative, level=level) == pytest.approx(delong(positive, negative, level))


def test_the_interval_is_wider_where_a_few_items_decide():
    positive, negative = [*range(10, 40), 0.5], list(range(10))
    area = ranking.auroc(positive, negative)
    low, _ = ranking.auroc_interval(positive, negative)
    assert low == pytest.approx(statistics.wilson(area, 20)[0])  # twice the smaller group
    assert low < delong(positive, negative)[0] - 0.02


@given(SCORES, SCORES, st.floats(0.5, 0.99))
def test_an_auroc_interval_holds_the_estimate_and_has_width(positive, negative, level):
    low, high = ranking.auroc_interval(positive, negative, level=level)
    assert 0 <= low <= ranking.auroc(positive, negative) <= high <= 1
    assert high - low > 1e-3
    wider = ranking.auroc_interval(positive, negative, level=level / 2 + 0.5)
    assert wider[0] <= low
    assert high <= wider[1]


@pytest.mark.parametrize(
    ("positive", "negative", "area"),
    [(range(50, 90), range(20), 1.0), (range(20), range(50, 90), 0.0), ([1] * 30, [1] * 20, 0.5), ([3], [1], 1.0)],
)
def test_without_a_variance_the_interval_is_wilsons_for_the_smaller_group(positive, negative, area):
    smaller = min(len(positive), len(negative))
    assert ranking.auroc_interval(list(positive), list(negative)) == statistics.wilson(area, smaller)


def coverage(draw, area, studies, interval):
    held = [low <= area <= high for low, high in (interval(*draw()) for _ in range(studies))]
    return np.mean(held)


STUDIES = 500  # the Monte Carlo standard error of a coverage of 0.95 is 0.010, of 0.75 is 0.019


def normal_groups(rng, area, sd, positives, negatives):
    shift = ndtri(area) * math.hypot(sd, 1.0)
    return lambda: (sd * rng.standard_normal(positives) + shift, rng.standard_normal(negatives))


@pytest.mark.parametrize("area", [0.7, 0.9, 0.99])
@pytest.mark.parametrize(("sd", "positives", "negatives"), [(1, 50, 50), (2, 50, 50), (2, 30, 300)])
def test_the_interval_covers_as_its_docstring_says(area, sd, positives, negatives):
    draw = normal_groups(np.random.default_rng(3), area, sd, positives, negatives)
    assert coverage(draw, area, STUDIES, ranking.auroc_interval) > 0.95 - 3 * 0.010


def test_delong_alone_would_not_cover_where_few_positives_spread_widely():
    draw = normal_groups(np.random.default_rng(4), 0.99, 2, 30, 300)

    def plain(positive, negative):
        limits = ranking.auroc_interval(positive, negative)
        return delong(positive, negative) if ranking.auroc_variance(positive, negative) else limits

    assert coverage(draw, 0.99, STUDIES, plain) < 0.8


@pytest.mark.parametrize(("share", "size"), [(0.02, 20), (0.02, 50), (0.1, 20)])
def test_the_interval_covers_where_some_positives_are_plain_failures(share, size):
    """The largest variance an AUROC can have: a positive is above all negatives or below them all."""
    rng = np.random.default_rng(5)

    def draw():
        return np.where(rng.random(size) < share, -9.0, 9.0), rng.standard_normal(4 * size)

    assert coverage(draw, 1 - share, STUDIES, ranking.auroc_interval) > 0.92 - 3 * 0.012


def test_nothing_is_said_of_an_empty_group_and_no_score_is_missing():
    for function in (ranking.auroc, ranking.auroc_variance, ranking.auroc_interval, ranking.difference_of_means_effect):
        assert function([], [1.0, 2.0]) is None
        assert function([1.0, 2.0], []) is None
        for wrong in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="finite"):
                function([wrong], [1.0, 2.0])
    with pytest.raises(ValueError, match="a level"):
        ranking.auroc_interval([1.0], [2.0], level=1.0)


@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.29, 0.5, 0.9]))
def test_the_frozen_threshold_is_the_smallest_that_keeps_the_rate(positive, control, fpr):
    frozen = ranking.recall_at_fpr(positive, control, fpr=fpr)
    kept = [t for t in control if sum(score > t for score in control) / len(control) <= fpr]
    assert frozen.threshold == min(kept)
    assert frozen.false_positive_rate == sum(score > frozen.threshold for score in control) / len(control) <= fpr
    assert frozen.recall == sum(score > frozen.threshold for score in positive) / len(positive)
    assert (frozen.positives, frozen.controls) == (len(positive), len(control))


@given(SCORES, SCORES, SCORES)
def test_positives_do_not_move_the_threshold_and_recall_rises_with_the_rate(positive, other, control):
    rates = [0.0, 0.05, 0.2, 0.6]
    found = [ranking.recall_at_fpr(positive, control, fpr=rate) for rate in rates]
    assert [ranking.recall_at_fpr(other, control, fpr=rate).threshold for rate in rates] == [f.threshold for f in found]
    assert [f.recall for f in found] == sorted(f.recall for f in found)


@pytest.mark.parametrize("fpr", [0.01, 0.07, 0.29, 0.57, 0.58])
def test_a_rate_in_decimals_is_taken_as_written(fpr):
    frozen = ranking.recall_at_fpr([200], range(100), fpr=fpr)  # 0.29 * 100 is 28.999999999999996
    assert frozen.false_alarms == round(fpr * 100)


def test_the_upper_exact_limit_holds_for_new_controls_and_the_observed_rate_does_not():
    rng = np.random.default_rng(6)
    held, studies = np.zeros(2), 1500
    for _ in range(studies):
        frozen = ranking.recall_at_fpr([0.0], rng.standard_normal(100), fpr=0.05)
        rate = ndtr(-frozen.threshold)
        upper = comparison.clopper_pearson(frozen.false_alarms, frozen.controls)[1]
        held += (rate <= upper, rate <= frozen.false_positive_rate)
    assert held[0] / studies == pytest.approx(0.975, abs=3 * 0.004)
    assert held[1] / studies < 0.5


def test_no_threshold_comes_from_nothing_or_lets_all_through():
    assert ranking.recall_at_fpr([], [1.0], fpr=0.1) is None
    assert ranking.recall_at_fpr([1.0], [], fpr=0.1) is None
    for fpr in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="no threshold"):
            ranking.recall_at_fpr([1.0], [1.0], fpr=fpr)


def test_the_effect_agrees_with_students_t_and_with_statsmodels():
    rng = np.random.default_rng(7)
    first, second = 2 * rng.standard_normal(40) + 3, rng.standard_normal(25)
    effect = ranking.difference_of_means_effect(first, second)
    t = stats.ttest_ind(first, second).statistic
    assert effect.cohens_d == pytest.approx(t * (1 / 40 + 1 / 25) ** 0.5)
    expected = effectsize_smd(first.mean(), first.std(ddof=1), 40, second.mean(), second.std(ddof=1), 25)[0]
    assert effect.hedges_g == pytest.approx(expected, rel=1e-3)  # statsmodels approximates the correction
    turned = ranking.difference_of_means_effect(second, first)
    assert (turned.cohens_d, turned.hedges_g) == pytest.approx((-effect.cohens_d, -effect.hedges_g))


def test_hedges_g_has_no_bias_in_small_samples_and_cohens_d_has():
    rng = np.random.default_rng(8)
    effects = [
        ranking.difference_of_means_effect(rng.standard_normal(4) + 1, rng.standard_normal(4)) for _ in range(4000)
    ]
    assert np.mean([effect.hedges_g for effect in effects]) == pytest.approx(1.0, abs=3 * 0.013)
    assert np.mean([effect.cohens_d for effect in effects]) > 1.1


@pytest.mark.parametrize(("first", "second"), [([1.0, 2.0], [3.0]), ([2.0, 2.0], [1.0, 1.0]), ([1.0] * 9, [1.0] * 9)])
def test_an_effect_needs_spread_and_four_items(first, second):
    assert ranking.difference_of_means_effect(first, second) is None


def test_jaccard_counts_members_once():
    assert ranking.jaccard([1, 2, 2, 3], [3, 4]) == 0.25
    assert ranking.jaccard("ab", "ba") == 1.0
    assert ranking.jaccard([1], []) == 0.0
    assert ranking.jaccard([], []) is None


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9), min_size=1))
def test_jaccard_takes_no_side(left, right):
    assert ranking.jaccard(left, right) == ranking.jaccard(right, left)
    assert 0 <= ranking.jaccard(left, right) <= 1
    assert (ranking.jaccard(left, right) == 1) == (left == right)


@pytest.mark.parametrize(("k", "total"), [(1, 1), (1, 5), (3, 7), (4, 6), (6, 6)])
def test_the_random_jaccard_is_the_mean_over_all_sets(k, total):
    fixed = range(k)
    indices = [ranking.jaccard(fixed, other) for other in itertools.combinations(range(total), k)]
    assert ranking.expected_random_jaccard(k, total) == pytest.approx(np.mean(indices), rel=1e-12)


def test_the_random_jaccard_of_a_dictionary_is_near_its_approximation():
    assert ranking.expected_random_jaccard(50, 16384) == pytest.approx(50 / (2 * 16384 - 50), rel=0.02)
    assert ranking.expected_random_jaccard(50, 16384) > 50 / (2 * 16384 - 50)
    assert ranking.expected_random_jaccard(0, 5) is None
    for k, total in ((6, 5), (-1, 5)):
        with pytest.raises(ValueError, match="of 5"):
            ranking.expected_random_jaccard(k, total)


RANKINGS = st.lists(st.integers(0, 12), unique=True, min_size=1, max_size=10)
PERSISTENCE = st.floats(0.05, 0.97)


@settings(deadline=None)
@given(RANKINGS, RANKINGS, PERSISTENCE)
def test_rank_biased_overlap_is_the_endless_sum_it_stands_for(left, right, p):
    """Webber et al. 2010, section 4.4, by its definition: agreement at each depth, weighted, to a depth of 1,000."""
    short, long = sorted((left, right), key=len)
    at_short = len(set(short) & set(long[: len(short)]))

    def agreement(depth: int) -> float:
        if depth <= len(short):
            return len(set(short[:depth]) & set(long[:depth])) / depth
        if depth <= len(long):
            return (len(set(short) & set(long[:depth])) + at_short * (depth - len(short)) / len(short)) / depth
        return agreement(len(long))

    expected = (1 - p) * math.fsum(agreement(min(depth, 10)) * p ** (depth - 1) for depth in range(1, 1000))
    assert ranking.rank_biased_overlap(left, right, p=p) == pytest.approx(expected, abs=1e-9)


@given(RANKINGS, RANKINGS, PERSISTENCE)
def test_rank_biased_overlap_takes_no_side_and_stays_between_nothing_and_the_same(left, right, p):
    overlap = ranking.rank_biased_overlap(left, right, p=p)
    assert overlap == ranking.rank_biased_overlap(right, left, p=p)
    assert -1e-12 <= overlap <= 1 + 1e-12
    assert ranking.rank_biased_overlap(left, left, p=p) == pytest.approx(1)
    assert ranking.rank_biased_overlap(left, [member + 20 for member in right], p=p) == 0


def test_rank_biased_overlap_by_hand_and_with_the_top_counting_most():
    by_hand = 0.1 * (0 + 0.9 * 1 / 2 + 0.81 * 2 / 3 + 0.729 * 1 + 0.6561 * 1) + 0.59049
    assert ranking.rank_biased_overlap([1, 2, 3, 4, 5], [2, 3, 4, 1, 5], p=0.9) == pytest.approx(by_hand)
    top = ranking.rank_biased_overlap("abcdef", "bacdef", p=0.8)
    bottom = ranking.rank_biased_overlap("abcdef", "abcdfe", p=0.8)
    assert top < bottom < 1


def test_rank_biased_overlap_of_nothing_is_none_and_of_repeats_an_error():
    assert ranking.rank_biased_overlap([], [1], p=0.9) is None
    for left, p in (([1, 1], 0.9), ([1, 2], 1.0), ([1, 2], 0.0)):
        with pytest.raises(ValueError, match="rank-biased"):
            ranking.rank_biased_overlap(left, [1], p=p)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30))
def test_spearman_agrees_with_scipy(pairs):
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    correlation = ranking.spearman(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert correlation is None
    else:
        assert correlation == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)
        assert correlation == ranking.spearman(right, left) == ranking.spearman(np.exp(left), right)
        assert ranking.spearman([-x for x in left], right) == pytest.approx(-correlation)


def test_spearman_of_the_same_order_is_exactly_one():
    scores = np.random.default_rng(9).standard_normal(1000)
    assert ranking.spearman(scores, np.exp(scores)) == 1.0
    assert ranking.spearman([], []) is None
    with pytest.raises(ValueError, match="against"):
        ranking.spearman([1, 2], [1])


def test_recalls_of_columns_are_those_of_each_column_alone():
    rng = np.random.default_rng(3)
    positive, controls = rng.normal(1.0, 1.0, (40, 5)), rng.normal(0.0, 1.0, (60, 5))
    found = ranking.recalls_at_fpr(positive, controls, fpr=0.05)
    assert found == tuple(
        ranking.recall_at_fpr(positive[:, one], controls[:, one], fpr=0.05) for one in range(positive.shape[1])
    )
    assert ranking.recalls_at_fpr(positive[:0], controls, fpr=0.05) == ()
