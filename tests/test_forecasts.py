"""Brier score, calibration error and balanced accuracy agree with other implementations and with hand-worked values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, brier_score_loss

from dossier import forecasts

CHANCE = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
FORECASTS = st.lists(st.tuples(CHANCE, st.booleans()), min_size=1, max_size=60)


def columns(pairs):
    return [pair[0] for pair in pairs], [int(pair[1]) for pair in pairs]


@settings(deadline=None)
@given(FORECASTS)
def test_brier_agrees_with_scikit_learn(pairs):
    said, came = columns(pairs)
    assert forecasts.brier(said, came) == pytest.approx(
        brier_score_loss(came, said, pos_label=1, labels=[0, 1]), abs=1e-12
    )
    assert 0 <= forecasts.brier(said, came) <= 1


@given(FORECASTS, st.randoms(use_true_random=False))
def test_the_order_of_forecasts_changes_no_bit(pairs, random):
    mixed = random.sample(pairs, len(pairs))
    assert forecasts.brier(*columns(pairs)) == forecasts.brier(*columns(mixed))
    assert forecasts.chance_calibration_error(columns(pairs)[0]) == forecasts.chance_calibration_error(
        columns(mixed)[0]
    )
    for error in (forecasts.expected_calibration_error, forecasts.squared_calibration_error):
        assert error(*columns(pairs), bins=5) == error(*columns(mixed), bins=5)


def test_the_calibration_error_by_hand():
    said, came = [0.1, 0.2, 0.3, 0.6, 0.8, 0.9], [0, 0, 1, 1, 1, 1]
    by_hand = abs(0.6 / 3 - 1 / 3) / 2 + abs(2.3 / 3 - 1) / 2
    assert forecasts.expected_calibration_error(said, came, bins=2) == pytest.approx(by_hand)
    assert forecasts.expected_calibration_error(said, came, bins=1) == pytest.approx(abs(2.9 / 6 - 4 / 6))


def test_bins_have_equal_mass_and_equal_probabilities_share_one():
    said, came = np.arange(100) / 100, np.zeros(100)
    gaps = said.reshape(10, 10).mean(axis=1)
    assert forecasts.expected_calibration_error(said, came) == pytest.approx(gaps.mean())
    odd = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]  # the one in the middle goes up
    assert forecasts.expected_calibration_error(odd, [1, 0, 0, 0, 0, 1, 1], bins=2) == pytest.approx((0.4 + 0.2) / 7)
    half = [0.5] * 100
    assert forecasts.expected_calibration_error(half, [0, 1] * 50) == 0.0
    assert forecasts.expected_calibration_error(half, [0] * 20 + [1] * 80) == pytest.approx(0.3)


@given(FORECASTS)
def test_a_calibration_error_is_a_share_and_needs_two_items_a_bin(pairs):
    error = forecasts.expected_calibration_error(*columns(pairs), bins=4)
    if len(pairs) < 8:
        assert error is None
        assert forecasts.squared_calibration_error(*columns(pairs), bins=4) is None
    else:
        assert 0 <= error <= 1


def test_the_squared_error_by_hand():
    said, came = [0.1, 0.2, 0.3, 0.6, 0.8, 0.9], [0, 0, 1, 1, 1, 1]
    low, high = (0.2 - 1 / 3) ** 2 - (1 / 3) * (2 / 3) / 2, (2.3 / 3 - 1) ** 2
    assert forecasts.squared_calibration_error(said, came, bins=2) == pytest.approx((low + high) / 2)
    lonely = [0.1] + [0.5] * 9  # the first bin has one item
    assert forecasts.squared_calibration_error(lonely, [0, 1] * 5, bins=5) is None


def studies(shift: float, items: int, count: int):
    """Yield forecasts that are too low by ``shift``."""
    rng = np.random.default_rng(2)
    for _ in range(count):
        said = rng.uniform(0.2, 0.8, items)
        yield said, (rng.random(items) < said + shift).astype(float)


def test_chance_alone_gives_true_probabilities_the_error_it_says():
    errors = [forecasts.expected_calibration_error(*study) for study in studies(0.0, 200, 400)]
    said, _ = next(studies(0.0, 200, 1))
    assert np.mean(errors) == pytest.approx(forecasts.chance_calibration_error(said), abs=3 * 0.001)
    assert forecasts.chance_calibration_error(said) == pytest.approx(0.083, abs=0.002)  # far from 0
    assert forecasts.chance_calibration_error([0.5]) is None
    assert forecasts.chance_calibration_error([0.0] * 30 + [1.0] * 30, bins=2) == 0.0


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_the_squared_error_has_no_bias_to_speak_of(shift):
    errors = [forecasts.squared_calibration_error(*study) for study in studies(shift, 200, 400)]
    assert np.mean(errors) == pytest.approx(shift**2, abs=3 * np.std(errors) / 400**0.5)
    assert min(errors) < 0 or shift


def test_resampling_would_leave_most_of_the_bias_of_the_absolute_error():
    rng = np.random.default_rng(3)
    plain, debiased = [], []
    for said, came in studies(0.0, 200, 200):
        parts = np.array_split(np.argsort(said), 10)
        said_mean, share = (np.array([values[part].mean() for part in parts]) for values in (said, came))
        drawn = rng.normal(share, np.sqrt(share * (1 - share) / 20), size=(300, 10))
        plain.append(np.abs(said_mean - share).mean())
        debiased.append(2 * plain[-1] - np.abs(drawn - said_mean).mean())
        assert plain[-1] == pytest.approx(forecasts.expected_calibration_error(said, came))
    assert 0.5 < np.mean(debiased) / np.mean(plain) < 0.7


@settings(deadline=None)
@given(*[st.integers(0, 30)] * 4)
def test_balanced_accuracy_agrees_with_scikit_learn(tp, fn, tn, fp):
    ours = forecasts.balanced_accuracy(tp=tp, fn=fn, tn=tn, fp=fp)
    if tp + fn == 0 or tn + fp == 0:
        assert ours is None
    else:
        truth, call = [1] * (tp + fn) + [0] * (tn + fp), [1] * tp + [0] * fn + [0] * tn + [1] * fp
        assert ours == pytest.approx(balanced_accuracy_score(truth, call), abs=1e-12)
        assert ours == forecasts.balanced_accuracy(tp=tn, fn=fp, tn=tp, fp=fn)


def test_nothing_is_said_of_no_forecasts_and_impossible_ones_are_an_error():
    assert forecasts.brier([], []) is None
    assert forecasts.expected_calibration_error([], []) is None
    for said, came in (([1.1], [1]), ([-0.1], [1]), ([0.5], [2]), ([0.5, 0.5], [1]), ([float("nan")], [0])):
        for function in (forecasts.brier, forecasts.expected_calibration_error, forecasts.squared_calibration_error):
            with pytest.raises(ValueError):
                function(said, came)
    with pytest.raises(ValueError, match="bins"):
        forecasts.expected_calibration_error([0.5], [1], bins=0)
    with pytest.raises(ValueError, match="not counts"):
        forecasts.balanced_accuracy(tp=-1, fn=2, tn=1, fp=1)
