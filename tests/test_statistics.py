"""The statistics agree with independent implementations and keep their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtrc
from statsmodels.stats.proportion import proportion_confint

from dossier import statistics
from dossier.model import TrialKey

SEED = "0123456789abcdef"


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 30), (15, 60), (60, 60), (300, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_statsmodels(hits, n, level):
    expected = proportion_confint(hits, n, alpha=1 - level, method="wilson")
    assert statistics.wilson(hits / n, n, level) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0, 1), st.floats(0.5, 1e6), st.floats(0.5, 0.999))
def test_wilson_holds_the_estimate_and_has_width(proportion, n, level):
    low, high = statistics.wilson(proportion, n, level)
    assert 0 <= low <= proportion <= high <= 1
    assert high > low


@given(st.integers(1, 500), st.data())
def test_wilson_rises_with_the_count(n, data):
    hits = data.draw(st.integers(0, n - 1))
    below, above = statistics.wilson(hits / n, n), statistics.wilson((hits + 1) / n, n)
    assert below[0] < above[0]
    assert below[1] < above[1] or above[1] == 1.0


@pytest.mark.parametrize(("proportion", "n"), [(-0.1, 10), (1.1, 10), (0.5, 0)])
def test_wilson_of_nothing_is_an_error(proportion, n):
    with pytest.raises(ValueError, match="no interval"):
        statistics.wilson(proportion, n)


def test_the_effective_size_of_independent_trials_is_their_number():
    assert statistics.effective_size(0.3, 0.3 * 0.7 / 80, most=100, at_edge=9) == pytest.approx(80)
    assert statistics.effective_size(0.3, 0.3 * 0.7 / 80, most=50, at_edge=9) == 50
    assert statistics.effective_size(0.0, 0.0, most=50, at_edge=9) == 9


def test_a_recovered_difference_is_newcombes():
    parts = [(56 / 70, 70), (48 / 80, 80)]  # Newcombe 1998, Statistics in Medicine 17:873, table II, case (a)
    limits = [statistics.wilson(*part) for part in parts]
    low, high = statistics.recovered_interval(lambda a, b: a - b, [part[0] for part in parts], limits)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_recovered_mean_knows_correlation():
    parts, limits = [0.5, 0.5], [(0.4, 0.6), (0.4, 0.6)]
    together = statistics.recovered_interval(lambda a, b: (a + b) / 2, parts, limits, correlation=np.ones((2, 2)))
    apart = statistics.recovered_interval(lambda a, b: (a + b) / 2, parts, limits)
    assert together == pytest.approx((0.4, 0.6))
    assert apart[1] - apart[0] == pytest.approx(0.2 / 2**0.5)
    cancelled = statistics.recovered_interval(lambda a, b: a - b, parts, limits, correlation=np.ones((2, 2)))
    assert cancelled == pytest.approx((0, 0))


def test_resamples_draw_every_unit_about_equally():
    weights = statistics.bootstrap_weights(SEED, 50, 4000)
    assert weights.shape == (4000, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 / 4000**0.5
    assert weights.var() == pytest.approx(49 / 50, rel=0.02)


def test_resamples_are_raw_words_scaled_down():
    words = [int(word) for word in np.random.PCG64(int(SEED, 16)).random_raw(7)]
    drawn = [(word // 2**32) * 7 // 2**32 for word in words]
    assert statistics.bootstrap_weights(SEED, 7, 1)[0].tolist() == [drawn.count(unit) for unit in range(7)]


def test_the_stream_of_resamples_is_pinned():
    assert statistics.bootstrap_weights(SEED, 6, 2).astype(int).tolist() == [[0, 0, 1, 1, 2, 2], [3, 2, 0, 0, 1, 0]]


@pytest.mark.parametrize(("n", "null"), [(30, 0.0), (60, 0.0), (60, 0.05), (300, 0.2)])
def test_the_smallest_detectable_rate_has_the_stated_power(n, null):
    rate = statistics.smallest_detectable_rate(n, null)
    threshold = next(hits for hits in range(n + 1) if hits and bdtrc(hits - 1, n, null) <= 0.025)
    assert bdtrc(threshold - 1, n, rate) == pytest.approx(0.8)
    assert rate > null


def test_without_a_false_positive_one_mention_is_enough_to_see():
    assert statistics.smallest_detectable_rate(60, 0.0) == pytest.approx(1 - 0.2 ** (1 / 60))


def test_no_rate_is_detectable_where_the_null_is_always():
    assert statistics.smallest_detectable_rate(3, 0.9) is None


def test_a_trials_seed_hangs_on_its_key_alone():
    key = TrialKey(item="q1", arm="unhinted", repeat=0)
    seeds = {statistics.trial_seed(SEED, "a.b", key.model_copy(update=change))
             for change in ({}, {"item": "q2"}, {"arm": "resample"}, {"repeat": 1})}  # fmt: skip
    assert len(seeds) == 4
    assert statistics.root_seed("0" * 64, None) != statistics.root_seed("0" * 64, "nonce")
