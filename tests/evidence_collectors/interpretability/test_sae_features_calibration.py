"""The certificate accepts the estimators on planted numbers and refuses them once they are made wrong on purpose."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dossier import model, ranking
from dossier.model import FileRef
from evidence_collectors.calibration import certificate, control, faults, summary
from evidence_collectors.interpretability.sae_features import calibration, effects, estimates, observations
from evidence_collectors.interpretability.sae_features.calibration import (
    BOUND,
    LIMITS,
    cluster_of,
    clusters,
    controls,
    copied,
    no_margin,
    simulated,
    simulated_recall,
    simulated_versions,
    studied,
    version_controls,
)
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.interpretability.sae_features.estimates import Quantity
from evidence_collectors.interpretability.sae_features.simulation import Planted, simulate

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse({"behaviour_tokens": ["no"], "top_k": 1, "permutations": 500})
PLANTED = Planted(separation=1.2)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(scope="module")
def run():
    return simulate(PARAMS, 60, SEED, PLANTED)


@pytest.fixture(autouse=True)
def one_case(monkeypatch):
    monkeypatch.setattr(calibration, "SIMULATED", {"one": PLANTED})


def calibrated(*, with_controls=0):
    nothing = controls(PARAMS, seed=SEED, studies=with_controls) if with_controls else (control("-", "-", [True]),)
    return certificate(
        COLLECTOR,
        PARAMS,
        simulated(PARAMS, sizes=(12,), count=60, seed=SEED),
        nothing,
        organisms=ORGANISM,
        truth="planted",
        bound=BOUND,
        limits=LIMITS,
    )


def test_the_estimators_are_accepted_and_the_certificate_is_a_document():
    made = calibrated(with_controls=2)
    assert faults(made) == ()
    assert {cell.studies for cell in made.cells} == {60}
    assert {cell.quantity for cell in made.cells} == set(PLANTED.truths(PARAMS))
    assert [one.studies for one in made.negative_controls] == [2] * 6
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made
    assert set(made.parameters) == {"interval_level"}


def test_the_truth_of_a_margin_is_known_only_where_random_weights_are_clearly_the_strictest_null():
    assert "set.auroc_margin" not in PLANTED.truths(PARAMS)
    known = Planted(separation=2.0, twin_separation=1.0).truths(PARAMS)
    assert known["set.auroc_margin"] == pytest.approx(known["set.auroc"] - known["twin.auroc"])


def test_an_effect_that_is_a_tenth_too_small_is_refused(monkeypatch):
    whole = estimates.ratio

    def small(*args, **options):
        found = whole(*args, **options)
        return Quantity(0.9 * found.estimate, (0.9 * found.limits[0], 0.9 * found.limits[1]))

    monkeypatch.setattr(estimates, "ratio", small)
    assert any("ablation.fall" in reason and "bias" in reason for reason in faults(calibrated()))


def test_intervals_that_take_items_of_a_pair_for_independent_are_refused(monkeypatch):
    whole = estimates.ratio

    def alone(above, below, clusters, *, level):
        found = whole(above, below, [str(row) for row in range(len(clusters))], level=level)
        centre = found.estimate
        return Quantity(centre, tuple(centre + 0.6 * (end - centre) for end in found.limits))

    monkeypatch.setattr(estimates, "ratio", alone)
    assert any("coverage" in reason for reason in faults(calibrated()))


def recalls(**options):
    params = PARAMS.model_copy(update={"control_set": "everyday", "minimum_controls": 300, "behaviour_tokens": ()})
    found = simulated_recall(params, sizes=(20,), seed=SEED, **options)
    nothing = (control("-", "-", [True]),)
    return certificate(
        COLLECTOR, params, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_a_recall_is_accepted_and_one_at_a_looser_threshold_is_refused(monkeypatch):
    made = recalls(count=30)
    assert faults(made) == ()
    assert {(cell.quantity, cell.estimable) for cell in made.cells} == {("set.recall", 30)}
    real = observations.ranking.recall_at_fpr
    monkeypatch.setattr(
        observations.ranking, "recall_at_fpr", lambda up, controls, *, fpr: real(up, controls, fpr=10.0 * fpr)
    )
    reasons = faults(recalls(count=30))
    assert any("bias" in reason for reason in reasons)
    assert any("coverage" in reason for reason in reasons)


def test_a_firing_rate_with_an_interval_of_every_second_firing_is_refused(monkeypatch):
    real = effects.clopper_pearson
    monkeypatch.setattr(effects, "clopper_pearson", lambda hits, n, level: real(hits // 2, n, level))
    assert any("firing_rate" in reason and "coverage" in reason for reason in faults(calibrated()))


def test_the_control_set_is_the_same_in_every_study():
    params = PARAMS.model_copy(update={"control_set": "everyday", "minimum_controls": 300})
    run = simulate(params, 20, SEED, PLANTED)
    held = [one for one in run if one.measurements.get("control")]
    assert len(held) == 300
    assert all(cluster_of(one) is None for one in held)
    assert clusters(run, neutral=True) == {}
    (made,) = studied(run, {}, params, source="it", sizes=(12,), count=2, seed=SEED)
    assert {found["set.recall"].facts["controls"] for found in made.found} == {300}
    assert len({found["set.recall"].facts["threshold"] for found in made.found}) == 1
    assert {found["set.recall"].n for found in made.found} == {24}


def test_a_margin_that_forgets_its_null_fails_the_controls(monkeypatch):
    monkeypatch.setattr(estimates, "margin", lambda quantity, null: quantity)
    found = controls(PARAMS, seed=SEED, studies=2)
    assert [one.passed for one in found if one.expected.startswith("set.auroc_margin")] == [0, 0, 0]


# --- effects: a difference in deviations that are known, and not in those of the sample ------------------------------


def test_an_effect_in_deviations_of_other_items_is_held_and_hedges_g_of_a_skewed_feature_is_not():
    """A feature that is silent on most negatives: a few of them make its deviation there, and with it all of g."""
    words, names = np.random.default_rng(11), [str(row) for row in range(36)]

    def negatives(count):
        return np.where(words.random(count) < 0.25, words.exponential(3.0, count), 0.0)

    many, held, plainly = negatives(400_000), 0, 0
    difference, pooled = 10.0 - many.mean(), np.sqrt((0.25 + many.var()) / 2.0)
    for _ in range(1000):
        up, low = 10.0 + 0.5 * words.standard_normal(36), negatives(36)
        found = estimates.effect(up, low, (names, names), scale=2.0, level=0.95)
        assert found.estimate == pytest.approx((up.mean() - low.mean()) / 2.0)
        held += found.limits[0] <= difference / 2.0 <= found.limits[1]
        g = ranking.difference_of_means_effect(up, low).hedges_g
        plainly += abs(g - difference / pooled) <= 1.96 * np.sqrt(2.0 / 36 + g**2 / 144)
    assert plainly / 1000 < 0.5
    assert held / 1000 > 0.92


def test_an_effect_that_does_not_vary_has_no_error_to_state():
    still = estimates.effect(np.ones(30), np.zeros(30), (["a"] * 30, ["b"] * 30), scale=1.0, level=0.95)
    assert (still.estimate, still.limits) == (None, None)
    assert "do not vary" in still.reasons[0]


def test_effects_over_items_of_a_pair_alone_are_refused(monkeypatch):
    real = estimates.effect

    def narrow(up, low, clusters, *, scale, level):
        found = real(up, low, clusters, scale=scale, level=level)
        centre = found.estimate
        return Quantity(centre, tuple(centre + 0.5 * (end - centre) for end in found.limits))

    monkeypatch.setattr(estimates, "effect", narrow)
    reasons = faults(calibrated())
    assert any("feature-1.effect" in reason and "coverage" in reason for reason in reasons)
    assert any("set.effect" in reason for reason in reasons)


# --- two versions ----------------------------------------------------------------------------------------------------

VERSIONS = COLLECTOR.parse({"compare": True, "top_k": 1, "permutations": 500})


def compared(*, studies=60):
    found = simulated_versions(VERSIONS, sizes=(12,), count=studies, seed=SEED)
    nothing = version_controls(VERSIONS, seed=SEED, studies=studies)
    return certificate(
        COLLECTOR, VERSIONS, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_a_version_that_is_the_same_model_shows_no_change_and_a_changed_feature_is_found_alone():
    made = compared()
    assert faults(made) == ()
    assert {cell.quantity for cell in made.cells} == {f"change-{place}.shift" for place in range(1, 9)}
    assert len(made.negative_controls) == 5


def test_eight_features_tested_as_if_they_were_one_are_refused(monkeypatch):
    """Each alone at 5 %: one in three versions of the same model would then have a changed feature."""
    real = estimates.changes

    def alone(differences, clusters, *, seed, permutations):
        columns = [
            real(differences[:, [place]], clusters, seed=seed, permutations=permutations).p_values[0]
            for place in range(differences.shape[1])
        ]
        return estimates.Changes(np.array(columns), np.array(columns))

    monkeypatch.setattr(estimates, "changes", alone)
    reasons = faults(compared(studies=40))
    assert any("the same model" in reason and "no feature found changed" in reason for reason in reasons)
    assert any("q-value" in reason for reason in reasons)


def test_a_test_that_finds_nothing_fails_on_the_changed_feature(monkeypatch):
    monkeypatch.setattr(
        estimates, "changes", lambda differences, *_, **__: estimates.Changes(*(np.ones(differences.shape[1]),) * 2)
    )
    (reason,) = faults(compared(studies=20))
    assert "that feature alone" in reason


def test_a_shift_whose_items_are_taken_for_four_times_as_many_is_refused(monkeypatch):
    real = estimates.mean

    def narrow(values, clusters, *, level):
        found = real(values, clusters, level=level)
        return Quantity(found.estimate, tuple(found.estimate + 0.5 * (end - found.estimate) for end in found.limits))

    monkeypatch.setattr(estimates, "mean", narrow)
    assert any("change-1.shift" in reason and "coverage" in reason for reason in faults(compared(studies=40)))


# --- recall beside random features -----------------------------------------------------------------------------------


def test_the_recall_of_random_features_is_read_at_thresholds_of_their_own():
    params = PARAMS.model_copy(update={"control_set": "everyday", "minimum_controls": 300, "behaviour_tokens": ()})
    for apart, least, most in ((0.0, 0.0, 0.06), (5.0, 0.9, 1.0)):
        planted = Planted(separation=3.0, random_separation=apart)
        found = summary(COLLECTOR, simulate(params, 60, SEED, planted), params)["set.recall"]
        assert found.estimate > 0.5
        assert "random feature sets" in found.null.what
        assert least <= found.null.estimate <= most
        assert found.null.low <= found.null.estimate <= found.null.high
        assert found.facts["false_alarms"] == 3
        assert found.facts["false_alarm_rate_high"] > 0.01


# --- intervals of skewed clusters ------------------------------------------------------------------------------------


def covered(draw, truth, interval, *, studies=1500, n=24):
    words = np.random.default_rng(7)
    names = [str(row) for row in range(n)]
    held = 0
    for _ in range(studies):
        low, high = interval(draw(words, n), names)
        held += low <= truth <= high
    return held / studies


def ours(values, names):
    return estimates.mean(values, names, level=0.95).limits


def plain(values, names):
    half = 2.0687 * values.std(ddof=1) / np.sqrt(len(values))  # Student's t with 23 degrees of freedom
    return values.mean() - half, values.mean() + half


def test_a_skewed_error_is_covered_and_by_a_plain_t_it_is_not():
    def skewed(words, n):
        return np.exp(words.standard_normal(n))

    assert covered(skewed, np.exp(0.5), plain) < 0.91
    assert covered(skewed, np.exp(0.5), ours) > covered(skewed, np.exp(0.5), plain) + 0.02
    assert covered(lambda words, n: words.standard_normal(n), 0.0, ours) > 0.93


def test_limits_are_those_of_students_t_where_nothing_is_skewed_and_mirror_where_the_values_do():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    names = [str(row) for row in range(5)]
    assert ours(values, names)[1] == pytest.approx(2.7764451 * values.std(ddof=1) / np.sqrt(5))
    skewed = np.array([0.0, 0.1, 0.2, 0.3, 4.0])
    low, high = ours(skewed, names)
    assert high - skewed.mean() > skewed.mean() - low
    assert ours(-skewed, names) == pytest.approx((-high, -low))
    assert ours(np.ones(5), names) == (1.0, 1.0)


def test_a_margin_allows_for_which_random_set_is_the_strict_one():
    """Two sets alike in their mean, one of them still and one that scatters: the limits of the still one alone miss."""
    words, held, alone = np.random.default_rng(3), 0, 0
    names = [str(row) for row in range(30)]
    spread = np.array([0.02, 1.0, *[0.02] * 18])
    truths = np.array([1.0, 1.05, *[3.0] * 18])  # at most one of twenty may lie below: the second
    for _ in range(400):
        margins = truths + spread * words.standard_normal((30, 20))
        after, before = np.zeros(30), np.full(30, 10.0)  # every random set falls, by 10 less its margin
        found = estimates.strict_margin(before, after, margins, names, level=0.95, seed=SEED)
        place = estimates.strict_place(-margins.mean(axis=0))
        low, high = estimates.mean(margins[:, place], names, level=0.95).limits
        alone += low <= truths[1] <= high
        held += found.limits[0] <= truths[1] <= found.limits[1]
        assert found.estimate == pytest.approx(float(np.sort(margins.mean(axis=0))[1]))
    assert alone / 400 < 0.8
    assert held / 400 > 0.93


def test_where_random_sets_raise_the_behaviour_the_margin_is_over_no_change():
    words, names = np.random.default_rng(4), [str(row) for row in range(30)]
    before = words.standard_normal(30)
    after, random = before - 0.5, before[:, None] + 2.0 + 0.1 * words.standard_normal((30, 20))
    found = estimates.strict_margin(before, after, random, names, level=0.95, seed=SEED)
    assert found.estimate == pytest.approx(0.5)
    assert found.limits == pytest.approx((0.5, 0.5))


# --- studies on organisms --------------------------------------------------------------------------------------------


def test_studies_hold_as_many_pairs_of_each_split_and_keep_what_belongs_to_no_item(run):
    made = list(studied(run, {"ablation.fall": 2.0}, PARAMS, source="it", sizes=(12, 20), count=3, seed=SEED))
    assert [one.source for one in made] == ["it", "it"]
    assert [{found["ablation.fall"].n for found in one.found} for one in made] == [{24}, {40}]
    assert {found["set.auroc"].n for found in made[0].found} == {48}
    estimates_ = [found["ablation.fall"].estimate for found in made[0].found]
    assert len(set(estimates_)) == 3


def test_a_copy_of_a_cluster_is_a_cluster_of_its_own(run):
    once = [one for one in run if cluster_of(one) == "test-00000"]
    twice = [copied(one, suffix) for one in once for suffix in ("0", "1")]
    assert Counter(cluster_of(one) for one in twice) == {"test-00000.0": len(once), "test-00000.1": len(once)}
    assert len({one.key.order for one in twice}) == 2 * len(once)
    assert cluster_of(next(one for one in run if one.key.arm == "subject")) is None


def test_neutral_items_are_drawn_in_their_proportion(run):
    neutral = [
        one.model_copy(update={"measurements": {**one.measurements, "label": "neutral"}})
        for one in run
        if one.key.arm in ("read", "fidelity") and str(one.measurements["cluster"])[-5:] < "00015"
    ]
    mixed = [one for one in run if cluster_of(one) is None or str(cluster_of(one))[-5:] >= "00015"] + neutral
    assert [len(names) for names in clusters(mixed, neutral=True).values()] == [15, 15]
    (made,) = studied(mixed, {}, PARAMS, source="it", sizes=(15,), count=2, seed=SEED)
    assert {found["health.ce_score"].n for found in made.found} == {2 * 4 * (15 + 5)}


def test_a_margin_that_is_there_is_no_control(run):
    assert not no_margin(summary(COLLECTOR, run, PARAMS))
    assert no_margin(summary(COLLECTOR, simulate(PARAMS, 30, SEED, Planted(separation=0.0, fall=0.0)), PARAMS))
