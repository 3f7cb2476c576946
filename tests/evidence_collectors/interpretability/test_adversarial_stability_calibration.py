"""The certificate accepts the estimators on planted truth and refuses ones that are made wrong on purpose."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dossier import model
from dossier.model import FileRef
from dossier.ranking import auroc
from evidence_collectors.calibration import certificate, faults, summary
from evidence_collectors.interpretability.adversarial_stability import arm as per_arm
from evidence_collectors.interpretability.adversarial_stability import calibration as calibration
from evidence_collectors.interpretability.adversarial_stability import estimates as estimates
from evidence_collectors.interpretability.adversarial_stability import quantities as quantities
from evidence_collectors.interpretability.adversarial_stability.calibration import (
    BOUND,
    LIMITS,
    Pool,
    controls,
    nothing,
    simulated,
    studied,
    worst_of_two,
)
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.interpretability.adversarial_stability.reading import order_limits
from evidence_collectors.interpretability.adversarial_stability.simulation import Planted, simulate

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse(
    {
        "point": "x",
        "markers": ["R"],
        "attacks": [],
        "extra_attacks": [{"before": "a "}, {"before": "b "}],
        "extra_benign": [{"before": "c "}],
        "permutations": 20,
        "top_k": 5,
    }
)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)
CASE = Planted(kept=0.5, shown=0.6, shift=0.1, sideways=0.4)
STUDIES = 30


@cache
def simulated_once(params, size, seed, attacks, train):
    return simulate(params, size, seed, dict(attacks), train=train)


@pytest.fixture(autouse=True)
def one_small_case(monkeypatch):
    """The same draws are read again by every mutated estimator."""
    monkeypatch.setattr(calibration, "SIMULATED", {"halved": CASE})
    monkeypatch.setattr(calibration, "CONTROL_TEXTS", 30)

    def remembered(params, size, seed, attacks, *, train=20):
        return simulated_once(params, size, seed, tuple(attacks.items()), train)

    monkeypatch.setattr(calibration, "simulate", remembered)


def certificate_of(*, with_controls=0):
    return certificate(
        COLLECTOR,
        PARAMS,
        simulated(PARAMS, sizes=(30,), count=STUDIES, seed=SEED),
        controls(PARAMS, seed=SEED, studies=with_controls) if with_controls else (control(),),
        organisms=ORGANISM,
        truth="Planted.",
        bound=BOUND,
        limits=LIMITS,
    )


def control(passed=1):
    return model.NegativeControl(what="nothing", expected="silence", studies=1, passed=passed)


def test_the_estimators_are_accepted_and_the_certificate_is_a_document():
    made = certificate_of(with_controls=3)
    assert faults(made.model_copy(update={"negative_controls": (control(),)})) == ()
    assert [one.passed for one in made.negative_controls] == [3] * 5
    assert faults(made.model_copy(update={"negative_controls": (control(passed=0),)}))
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made
    names = {cell.quantity for cell in made.cells}
    assert {"*.projection_retention", "*.gap_retention", "*.recall", "*.shift_cosine", "*.attack_success"} <= names
    assert {cell.source for cell in made.cells} == {"simulated, halved", "simulated, no attack"}
    assert {cell.source for cell in made.cells if cell.quantity == "*.auroc_margin"} == {
        cell.source for cell in made.cells
    }
    (retention,) = (cell for cell in made.cells if cell.quantity == "*.projection_retention")
    assert (retention.truth, retention.studies, retention.estimable) == (0.5, STUDIES, STUDIES)
    assert set(made.parameters) == {"target_fpr", "interval_level"}


def test_a_retention_that_is_a_tenth_too_high_is_refused(monkeypatch):
    whole = estimates._fieller

    def mutant(means, *rest):
        return whole((means[0] * 1.1, means[1]), *rest)

    monkeypatch.setattr(estimates, "_fieller", mutant)
    assert any("projection_retention" in reason and "bias" in reason for reason in faults(certificate_of()))


def test_a_cosine_without_its_correction_is_refused(monkeypatch):
    real = per_arm._cosine

    def mutant(seen, level, *, measured, splits):
        found = real(seen, level, measured=measured, splits=splits)
        raw = seen.arm.step[measured.replace("cosine", "uncorrected")]
        return estimates.Estimate(raw, found.limits, found.n)

    monkeypatch.setattr(per_arm, "_cosine", mutant)
    assert any("cosine" in reason and "bias" in reason for reason in faults(certificate_of()))


def test_intervals_that_are_too_narrow_are_refused(monkeypatch):
    whole = estimates.mean_difference

    def narrow(attacked, clean, level):
        found = whole(attacked, clean, level)
        half = (found.limits[1] - found.limits[0]) / 6.0
        return estimates.Estimate(found.value, (found.value - half, found.value + half), found.n)

    monkeypatch.setattr(estimates, "mean_difference", narrow)
    assert any("log_odds_change" in reason and "coverage" in reason for reason in faults(certificate_of()))


def test_a_retention_of_a_signal_that_is_not_there_fails_a_control(monkeypatch):
    """The mutation: what is kept is said without asking whether the classes differ at all."""
    monkeypatch.setattr(quantities, "OF_A_SIGNAL", frozenset())
    reasons = faults(certificate_of(with_controls=3))
    assert any("tells nothing apart" in reason for reason in reasons)


def test_a_margin_over_chance_alone_fails_a_control(monkeypatch):
    """The mutation: the null is a coin, not what random directions reach."""
    real = per_arm.separation

    def mutant(seen, level):
        found = real(seen, level)
        return estimates.Estimate(found.value - 0.5, tuple(one - 0.5 for one in found.limits), found.n)

    margin = quantities.BY_NAME["auroc_margin"]
    mutated = {**quantities.BY_NAME, "auroc_margin": margin.__class__(**{**vars(margin), "measure": mutant})}
    monkeypatch.setattr(quantities, "INSIDE", tuple(mutated[one.name] for one in quantities.INSIDE))
    monkeypatch.setattr(calibration.COLLECTOR.__class__, "summarise", summarised_with(mutated))
    assert any("every direction tells apart" in reason for reason in faults(certificate_of(with_controls=3)))


def summarised_with(by_name):
    from evidence_collectors.interpretability.adversarial_stability import observations
    from evidence_collectors.interpretability.adversarial_stability.reading import read

    def summarise(self, trials, artifacts, params, seed):
        kept, observations.BY_NAME = observations.BY_NAME, by_name
        try:
            return observations.observations(read(trials, params), params)
        finally:
            observations.BY_NAME = kept

    return summarise


# --- studies on organisms --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs():
    attacks = {"own-1": CASE, "own-2": Planted(kept=1.0, shown=0.95, scatter=0.0)}
    return [simulate(PARAMS, 40, f"{number:016x}", attacks) for number in range(2)]


def test_a_text_of_a_study_is_read_once_and_answered_as_in_the_run_that_was_drawn(runs):
    pool = Pool.of(runs[0], [[one for one in runs[1] if one.key.arm.endswith(".answer")]])
    found = pool.study(30, seed=SEED)
    texts = [one for one in found if one.key.item.startswith("test")]
    assert len(found) - len(texts) == sum(not one.key.item.startswith("test") for one in runs[0])
    assert len({one.key.order for one in found}) == len(found)
    first, second = ({(one.key.item, one.key.arm): one for one in run} for run in runs)
    drawn_from = set()
    for one in texts:
        name, _, suffix = one.key.item.rpartition(".")
        run = suffix.partition("-")[0]
        answer = one.key.arm.endswith(".answer")
        drawn_from |= {run} if answer else set()
        source = (first, second)[int(run)] if answer else first
        assert one.measurements == source[(name, one.key.arm)].measurements
    assert drawn_from == {"0", "1"}
    sides = [one.measurements["positive"] for one in texts if one.key.arm == "clean"]
    assert (sum(sides), len(sides)) == (30, 60)


def test_studies_on_a_run_speak_of_one_arm_each_and_are_as_large_as_they_say(runs):
    truths = {"own-1": {"projection_retention": 0.5}, "own-2": {"recall": 1.0}}
    made = list(studied(Pool.of(runs[0], runs[1:]), truths, PARAMS, source="it", sizes=(25, 30), count=4, seed=SEED))
    assert [one.source for one in made] == ["it, own-1", "it, own-2"] * 2
    assert [set(one.truths) for one in made[:2]] == [{"*.projection_retention"}, {"*.recall"}]
    for one, size in zip(made, (25, 25, 30, 30), strict=True):
        assert len(one.found) == 4
        assert {name.partition(".")[0] for found in one.found for name in found} == {one.source[4:]}
        assert {found[f"{one.source[4:]}.recall"].n for found in one.found} == {size}


def test_the_worst_of_two_is_said_of_both_and_needs_two(runs):
    made = worst_of_two(PARAMS, size=30, count=6, seed=SEED)
    assert set(made.truths) == {"worst.projection_retention", "worst.gap_retention"}
    lowest = [found["worst.projection_retention"].estimate for found in made.found]
    assert all(
        one == min(found[f"own-{k}.projection_retention"].estimate for k in (1, 2))
        for one, found in zip(lowest, made.found, strict=True)
    )
    with pytest.raises(ValueError, match="no two attacks"):
        worst_of_two(PARAMS.model_copy(update={"extra_attacks": PARAMS.extra_attacks[:1]}), size=30, count=1, seed=SEED)


def test_nothing_is_not_said_where_something_is_kept(runs):
    assert not nothing(summary(COLLECTOR, runs[0], PARAMS))


def test_a_margin_allows_for_what_its_null_does_not_know(runs):
    """The AUROC is 1 at every study of so clear a signal; all the error is the null's."""
    found = summary(COLLECTOR, simulate(PARAMS, 40, SEED, {"own-1": Planted(1.0, 0.95, spread=0.15)}), PARAMS)
    area, margin = found["own-1.auroc"], found["own-1.auroc_margin"]
    assert area.estimate == area.interval.high == 1.0
    assert margin.interval.high > margin.estimate + 0.03
    assert margin.interval.low < area.interval.low - margin.facts["null_q95"]


# --- estimates by hand -----------------------------------------------------------------------------------------------


def test_fiellers_limits_solve_their_equation():
    rng = np.random.default_rng(0)
    clean = 1.0 + 0.3 * rng.standard_normal(40)
    attacked = 0.4 * clean + 0.2 * rng.standard_normal(40)
    found = estimates.ratio_of_means(attacked, clean, 0.95)
    for end in found.limits:
        residual = attacked - end * clean
        t = residual.mean() / (residual.std(ddof=1) / np.sqrt(40))
        assert abs(t) == pytest.approx(2.0226909, rel=1e-6)  # the 97.5 % quantile of Student's t, 39 degrees of freedom


def test_there_is_no_ratio_to_nothing():
    noise = np.linspace(-1.0, 1.0, 30)
    assert estimates.ratio_of_means(noise, noise, 0.95).value is None
    assert estimates.ratio_of_means(-noise - 5.0, noise - 5.0, 0.95).value is None


def test_the_worst_exists_only_if_every_part_does():
    parts = {"a": estimates.rate(9, 10, 0.95), "b": estimates.rate(5, 10, 0.95)}
    strict = {"a": estimates.rate(9, 10, 0.975), "b": estimates.rate(5, 10, 0.975)}
    lowest, highest = (estimates.worst(parts, strict, lowest=which) for which in (True, False))
    assert (lowest.facts["attack"], highest.facts["attack"]) == ("b", "a")
    assert lowest.limits == (parts["b"].limits[0], strict["b"].limits[1])
    assert highest.limits == (strict["a"].limits[0], parts["a"].limits[1])
    gone = {**parts, "c": estimates.missing(0, "nothing was read")}
    assert estimates.worst(gone, strict, lowest=True).value is None
    assert "c: nothing was read" in estimates.worst(gone, strict, lowest=True).reasons[0]


def test_a_jackknifed_cosine_stays_within_its_bounds():
    found = estimates.jackknifed_cosine(1.002, [1.001, 1.003, 1.002], 0.95)
    assert found.value == found.limits[1] == 1.0
    assert found.limits[0] < 1.0


def test_fewer_random_directions_than_their_95th_percentile_needs_give_no_margin():
    few = PARAMS.model_copy(update={"random_directions": 20})
    found = summary(COLLECTOR, simulate(few, 40, SEED, {"own-1": Planted(0.5, 0.5)}), few)
    assert found["own-1.auroc"].estimate is not None
    assert found["own-1.auroc_margin"].estimate is None
    assert "20 random directions do not settle" in found["own-1.auroc_margin"].reasons[0]


def test_order_statistics_hold_a_quantile_as_often_as_they_say():
    """Against the binomial: of 100 values, how likely the quantile lies below the chosen ones, and above."""
    from scipy.stats import binom

    for n in (20, 60, 100, 400):
        values = np.arange(1, n + 1) / (n + 1.0)
        low, high = order_limits(values, 0.95, 0.95)
        below = round(low * (n + 1))
        assert binom.cdf(below - 1, n, 0.95) <= 0.025
        assert below == n or binom.cdf(below, n, 0.95) > 0.025, "the highest that holds"
        if high < 1.0:
            above = round(high * (n + 1))
            assert binom.sf(above - 1, n, 0.95) <= 0.025
            assert binom.sf(above - 2, n, 0.95) > 0.025, "the lowest that holds"
        else:
            assert binom.sf(n - 1, n, 0.95) > 0.025, "none of so few bounds it"


def test_the_true_margin_is_over_what_random_directions_are_drawn_to_read():
    """Directions and texts drawn anew, and the twentieth of the readings counted."""
    planted, words = Planted(0.5, 0.5, sideways=0.4, shift=0.1), np.random.default_rng(3)
    readings = []
    for _ in range(1500):
        direction = words.standard_normal(24)
        direction /= np.linalg.norm(direction)
        up, low = 0.3 * words.standard_normal((40, 24)), 0.3 * words.standard_normal((40, 24))
        up[:, 0] = 0.5 * (1.0 + up[:, 0]) + 0.1 * words.standard_normal(40)
        up[:, 1] += 0.4
        low[:, 0] += 0.1
        area = auroc(up @ direction, low @ direction)
        readings.append(max(area, 1.0 - area))
    truth = planted.truths(PARAMS)["auroc"] - float(np.quantile(readings, 0.95))
    assert planted.margin(40) == pytest.approx(truth, abs=0.02)


def test_a_margin_over_the_mean_of_random_directions_is_refused(monkeypatch):
    monkeypatch.setattr(per_arm, "strict_random", lambda values: float(values.mean()))
    assert any("auroc_margin" in reason and "bias" in reason for reason in faults(certificate_of()))


def test_the_recall_of_random_directions_is_read_at_thresholds_of_their_own():
    found = summary(COLLECTOR, simulate(PARAMS, 40, SEED, {"own-1": Planted(0.9, 0.5)}), PARAMS)
    for name in ("clean.recall", "own-1.recall"):
        assert "100 random directions, each at a threshold frozen alike" in found[name].null.what
        assert found[name].null.estimate < 0.3 < 0.6 < found[name].estimate
    everywhere = Planted(1.0, 0.95, everywhere=5.0)
    same = summary(COLLECTOR, simulate(PARAMS, 40, SEED, {"own-1": everywhere}), PARAMS)
    assert same["clean.recall"].null.high == 1.0, "those drawn along the shift recall every text"
