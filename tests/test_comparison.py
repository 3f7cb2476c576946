"""Tests and intervals for counts agree with independent implementations, hold their level, and see what they say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from dossier import comparison

SEED = "0123456789abcdef"
COUNTS = st.integers(0, 40)


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 30), (15, 60), (60, 60), (10, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_clopper_pearson_agrees_with_statsmodels(hits, n, level):
    expected = proportion_confint(hits, n, alpha=1 - level, method="beta")
    assert comparison.clopper_pearson(hits, n, level) == pytest.approx(expected, abs=1e-12)


def test_clopper_pearson_gives_the_known_bounds_for_one_percent():
    assert comparison.clopper_pearson(0, 100)[1] == pytest.approx(0.0362, abs=5e-5)
    assert comparison.clopper_pearson(10, 1000) == pytest.approx((0.0048, 0.0183), abs=5e-5)


@pytest.mark.parametrize("n", [1, 7, 50])
def test_clopper_pearson_covers_at_least_at_its_level_at_every_rate(n):
    limits = [comparison.clopper_pearson(hits, n, 0.9) for hits in range(n + 1)]
    for rate in np.linspace(0.0, 1.0, 101):
        held = [low <= rate <= high for low, high in limits]
        assert stats.binom.pmf(np.arange(n + 1), n, rate) @ held >= 0.9 - 1e-12


@pytest.mark.parametrize(("hits", "n", "level"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_clopper_pearson_of_nothing_is_an_error(hits, n, level):
    with pytest.raises(ValueError):
        comparison.clopper_pearson(hits, n, level)


@settings(deadline=None)
@given(COUNTS, COUNTS)
def test_mcnemar_agrees_with_statsmodels_and_takes_no_side(first, second):
    p_value = comparison.mcnemar_exact(first, second)
    assert p_value == pytest.approx(mcnemar([[0, first], [second, 0]], exact=True).pvalue, rel=1e-12)
    assert p_value == comparison.mcnemar_exact(second, first)
    assert 0.0 < p_value <= 1.0


def test_without_a_discordant_pair_nothing_speaks_against_equality():
    assert comparison.mcnemar_exact(0, 0) == 1.0


@settings(deadline=None)
@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_fisher_agrees_with_scipy(a, b, c, d):
    expected = 1.0 if a + b + c + d == 0 else stats.fisher_exact([[a, b], [c, d]]).pvalue
    assert comparison.fisher_exact(a, b, c, d) == pytest.approx(expected, rel=1e-9)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_fisher_does_not_care_which_group_or_answer_comes_first(a, b, c, d):
    p_value = comparison.fisher_exact(a, b, c, d)
    for table in ((c, d, a, b), (b, a, d, c), (a, c, b, d)):
        assert comparison.fisher_exact(*table) == pytest.approx(p_value, rel=1e-9)


def test_fisher_holds_with_thousands_of_items():
    expected = stats.fisher_exact([[30, 9970], [60, 9940]]).pvalue
    assert comparison.fisher_exact(30, 9970, 60, 9940) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "test", [lambda: comparison.fisher_exact(-1, 2, 3, 4), lambda: comparison.mcnemar_exact(-1, 2)]
)
def test_negative_counts_are_an_error(test):
    with pytest.raises(ValueError, match="not counts"):
        test()


@pytest.mark.parametrize(
    ("marked", "drawn", "total"), [(0, 0, 5), (3, 5, 7), (10, 10, 30), (200, 400, 1000), (7, 7, 7)]
)
def test_hypergeometric_probabilities_agree_with_scipy(marked, drawn, total):
    least, probabilities = comparison.hypergeometric(marked, drawn, total)
    counts = np.arange(least, least + probabilities.size)
    assert probabilities == pytest.approx(stats.hypergeom.pmf(counts, total, marked, drawn), rel=1e-9, abs=1e-300)
    assert (least, counts[-1]) == (max(0, marked + drawn - total), min(marked, drawn))


def test_drawing_more_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="not counts"):
        comparison.hypergeometric(3, 8, 7)


@pytest.mark.parametrize(
    ("first", "second"), [((56, 70), (48, 80)), ((0, 10), (0, 20)), ((10, 10), (0, 20)), ((5, 56), (0, 29))]
)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_risk_difference_agrees_with_statsmodels(first, second, level):
    expected = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff", alpha=1 - level)
    assert comparison.risk_difference_interval(first, second, level=level) == pytest.approx(expected, abs=1e-9)


@given(COUNTS, st.integers(1, 40), COUNTS, st.integers(1, 40))
def test_a_risk_difference_lies_in_its_interval_and_turns_with_the_groups(hits, misses, other_hits, other_misses):
    first, second = (hits, hits + misses), (other_hits, other_hits + other_misses)
    low, high = comparison.risk_difference_interval(first, second)
    difference = first[0] / first[1] - second[0] / second[1]
    assert -1 <= low <= difference <= high <= 1
    assert low < high
    assert comparison.risk_difference_interval(second, first) == pytest.approx((-high, -low), abs=1e-12)


def test_the_unpaired_interval_covers_as_its_docstring_says():
    """Exact, by summing over all tables: no Monte Carlo error."""
    n, rates = 50, (0.01, 0.05, 0.2, 0.5, 0.7, 0.97)
    limits = np.array(
        [[comparison.risk_difference_interval((a, n), (b, n)) for b in range(n + 1)] for a in range(n + 1)]
    )
    covered = []
    for first, second in itertools.product(rates, rates):
        held = (limits[..., 0] <= first - second) & (first - second <= limits[..., 1])
        weights = [stats.binom.pmf(np.arange(n + 1), n, rate) for rate in (first, second)]
        covered.append(weights[0] @ held @ weights[1])
    assert min(covered) > 0.937
    assert 0.95 < np.mean(covered) < 0.97


def test_the_paired_interval_gives_the_published_values():
    """Fagerland, Lydersen and Laake 2017, Statistical Analysis of Contingency Tables, chapter 8, data of Cavo et al. 2012; the
    second as the R package statpsych gives it for `ci.prop.ps(.05, 12, 4, 26, 6)`."""
    low, high = comparison.paired_difference_interval(both=59, first_only=6, second_only=16, neither=80)
    assert (low, high) == pytest.approx((-0.1195, -0.0032), abs=5e-5)
    low, high = comparison.paired_difference_interval(both=6, first_only=26, second_only=4, neither=12)
    assert (low, high) == pytest.approx((0.2548067, 0.6251933), abs=5e-8)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_paired_interval_is_walds_over_pairs_with_one_more_each_way(both, first, second, neither):
    if both + first + second + neither == 0:
        return
    signs = np.repeat([0.0, 1.0, -1.0], [both + neither, first + 1, second + 1])
    half = stats.norm.ppf(0.975) * signs.std() / math.sqrt(signs.size)
    low, high = comparison.paired_difference_interval(both=both, first_only=first, second_only=second, neither=neither)
    assert low == pytest.approx(max(-1.0, signs.mean() - half), abs=1e-12)
    assert high == pytest.approx(min(1.0, signs.mean() + half), abs=1e-12)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_paired_difference_lies_in_its_interval_and_turns_with_the_arms(both, first, second, neither):
    if both + first + second + neither == 0:
        return
    counts = {"both": both, "neither": neither}
    low, high = comparison.paired_difference_interval(first_only=first, second_only=second, **counts)
    assert low - 1e-12 <= (first - second) / (both + first + second + neither) <= high + 1e-12
    assert high > low
    turned = comparison.paired_difference_interval(first_only=second, second_only=first, **counts)
    assert turned == pytest.approx((-high, -low), abs=1e-12)


def test_the_paired_interval_covers_as_its_docstring_says():
    """Exact, by summing over all tables: no Monte Carlo error."""
    n = 30
    tables = np.array(
        [(first, second, n - first - second) for first in range(n + 1) for second in range(n + 1 - first)]
    )
    limits = np.array(
        [
            comparison.paired_difference_interval(both=rest, first_only=first, second_only=second, neither=0)
            for first, second, rest in tables.tolist()
        ]
    )

    def coverage(discordant: float, towards_first: float) -> float:
        rates = np.array([discordant * towards_first, discordant * (1 - towards_first), 1 - discordant])
        difference = rates[0] - rates[1]
        held = (limits[:, 0] <= difference + 1e-12) & (difference <= limits[:, 1] + 1e-12)
        return float(stats.multinomial.pmf(tables, n, rates)[held].sum())

    covered = {
        case: coverage(*case) for case in itertools.product(np.linspace(0.02, 1.0, 50), np.linspace(0.5, 1.0, 11))
    }
    assert min(covered, key=covered.__getitem__) == pytest.approx((1.0, 0.85))
    assert min(covered.values()) == pytest.approx(0.924, abs=5e-4)
    assert 0.955 < np.mean(list(covered.values())) < 0.97


def test_no_interval_comes_from_no_trials():
    with pytest.raises(ValueError, match="no interval"):
        comparison.risk_difference_interval((0, 0), (1, 2))
    with pytest.raises(ValueError, match="no interval"):
        comparison.paired_difference_interval(both=0, first_only=0, second_only=0, neither=0)
    with pytest.raises(ValueError, match="more hits"):
        comparison.risk_difference_interval((3, 2), (1, 2))
    with pytest.raises(ValueError, match="a level"):
        comparison.risk_difference_interval((1, 2), (1, 2), level=1.0)


@pytest.mark.parametrize(("pairs", "discordant_rate"), [(20, 0.5), (60, 0.3), (100, 0.1)])
def test_the_smallest_paired_difference_is_found_with_the_stated_power(pairs, discordant_rate):
    difference = comparison.minimum_detectable_paired_difference(pairs, discordant_rate)
    rates = [(discordant_rate + difference) / 2, (discordant_rate - difference) / 2]
    cells = [(f, s) for f in range(pairs + 1) for s in range(pairs + 1 - f) if comparison.mcnemar_exact(f, s) <= 0.05]
    counts = np.array([(f, s, pairs - f - s) for f, s in cells])
    found = stats.multinomial.pmf(counts, pairs, [*rates, 1 - sum(rates)]).sum()
    assert found == pytest.approx(0.8, abs=1e-9)


def test_large_paired_designs_agree_with_the_normal_formula():
    """Miettinen 1968, Biometrics 24:339: n = (z_a sqrt(r) + z_b sqrt(r - d^2))^2 / d^2."""
    rate, difference = 0.3, comparison.minimum_detectable_paired_difference(3000, 0.3)
    z_a, z_b = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    assert ((z_a * rate**0.5 + z_b * (rate - difference**2) ** 0.5) / difference) ** 2 == pytest.approx(3000, rel=0.04)


@pytest.mark.parametrize(("first_n", "second_n", "rate"), [(20, 20, 0.0), (30, 45, 0.1), (45, 30, 0.5)])
def test_the_smallest_unpaired_difference_is_found_with_the_stated_power(first_n, second_n, rate):
    rise = comparison.minimum_detectable_difference(first_n, second_n, rate=rate)
    found = 0.0
    for a, b in itertools.product(range(first_n + 1), range(second_n + 1)):
        if comparison.fisher_exact(a, first_n - a, b, second_n - b) <= 0.05:
            found += stats.binom.pmf(a, first_n, rate) * stats.binom.pmf(b, second_n, rate + rise)
    assert found == pytest.approx(0.8, abs=1e-9)


def test_large_unpaired_designs_agree_with_the_normal_formula():
    rise = comparison.minimum_detectable_difference(600, 600, rate=0.3)
    mean, z_a, z_b = 0.3 + rise / 2, stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    spread = z_a * (2 * mean * (1 - mean)) ** 0.5 + z_b * (0.3 * 0.7 + (0.3 + rise) * (0.7 - rise)) ** 0.5
    plain = (spread / rise) ** 2
    assert plain / 4 * (1 + (1 + 4 / (plain * rise)) ** 0.5) ** 2 == pytest.approx(600, rel=0.02)  # Fleiss et al. 1980


def test_more_items_find_smaller_differences_and_too_few_find_none():
    paired = [comparison.minimum_detectable_paired_difference(n, 0.3) for n in (50, 100, 400)]
    unpaired = [comparison.minimum_detectable_difference(n, n, rate=0.1) for n in (15, 50, 150)]
    assert paired == sorted(paired, reverse=True)
    assert unpaired == sorted(unpaired, reverse=True)
    assert comparison.minimum_detectable_paired_difference(5, 1.0) is None  # 2 / 2**5 is above 0.05
    assert comparison.minimum_detectable_paired_difference(100, 0.0) is None
    assert comparison.minimum_detectable_paired_difference(0, 0.5) is None
    assert comparison.minimum_detectable_difference(3, 3, rate=0.0) is None
    assert comparison.minimum_detectable_difference(100, 100, rate=1.0) is None


def test_a_rate_outside_its_range_is_an_error():
    with pytest.raises(ValueError, match="not in"):
        comparison.minimum_detectable_paired_difference(10, 1.2)
    with pytest.raises(ValueError, match="not in"):
        comparison.minimum_detectable_difference(10, 10, rate=-0.1)


P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=30)


@settings(max_examples=12, deadline=None)  # statsmodels takes a tenth of a second for Holm
@given(P_VALUES)
def test_adjusted_p_values_agree_with_statsmodels(p_values):
    assert comparison.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)
    assert comparison.benjamini_hochberg(p_values) == pytest.approx(
        multipletests(p_values, method="fdr_bh")[1], abs=1e-12
    )


@given(P_VALUES, st.randoms(use_true_random=False))
def test_adjusting_never_lowers_a_p_value_and_does_not_hang_on_order(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    for adjust in (comparison.holm, comparison.benjamini_hochberg):
        adjusted = adjust(p_values)
        assert ((adjusted >= np.array(p_values) - 1e-15) & (adjusted <= 1.0)).all()
        assert adjust([p_values[place] for place in order]).tolist() == adjusted[order].tolist()
    assert (comparison.holm(p_values) >= comparison.benjamini_hochberg(p_values) - 1e-15).all()


def test_no_p_values_stay_none_and_impossible_ones_are_an_error():
    assert comparison.holm([]).size == comparison.benjamini_hochberg([]).size == 0
    for wrong in ([0.5, 1.5], [-0.1], [float("nan")], [[0.1]]):
        with pytest.raises(ValueError, match="p-values"):
            comparison.holm(wrong)


def test_each_stratum_keeps_its_size_and_its_own_draws():
    strata = ["a"] * 5 + ["b"] * 8 + ["a"] * 2
    weights = comparison.stratified_bootstrap_weights(SEED, strata, 300)
    in_a = np.array(strata) == "a"
    assert (weights[:, in_a].sum(axis=1) == 7).all()
    assert (weights[:, ~in_a].sum(axis=1) == 8).all()
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 / 300**0.5
    alone = comparison.stratified_bootstrap_weights(SEED, ["a"] * 7, 300)
    assert (weights[:, in_a] == alone).all()


def test_strata_of_one_size_share_no_draws():
    weights = comparison.stratified_bootstrap_weights(SEED, ["a"] * 20 + ["b"] * 20, 200)
    assert abs(np.corrcoef(weights[:, :20].ravel(), weights[:, 20:].ravel())[0, 1]) < 5 / 4000**0.5
    assert comparison.stratified_bootstrap_weights(SEED, [], 3).shape == (3, 0)
