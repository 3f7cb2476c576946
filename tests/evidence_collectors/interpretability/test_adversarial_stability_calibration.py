"""The certificate accepts the estimators on planted truth and refuses ones that are made wrong on purpose."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.interpretability.adversarial_stability import arm as per_arm
from evidence_collectors.interpretability.adversarial_stability import calibration as calibration
from evidence_collectors.interpretability.adversarial_stability import estimates as estimates
from evidence_collectors.interpretability.adversarial_stability.calibration import accept, certificate, cut, simulated
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.interpretability.adversarial_stability.simulation import Planted, simulate

SEED = "0a0b0c0d0e0f0001"
ATTACK = "prefix-fiction"
PARAMS = COLLECTOR.parse(
    {"point": "x", "markers": ["R"], "attacks": [ATTACK, "benign-typo"], "permutations": 20, "top_k": 5}
)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)
CASE = Planted(kept=0.5, shown=0.6, shift=0.1, sideways=0.4)


@cache
def simulated_once(params, size, seed, names, planted):
    return simulate(params, size, seed, dict(zip(names, planted, strict=True)))


@pytest.fixture(autouse=True)
def one_small_case(monkeypatch):
    monkeypatch.setattr(calibration, "SIMULATED", {"halved": CASE})
    monkeypatch.setattr(
        calibration,
        "simulate",
        lambda params, size, seed, attacks: simulated_once(params, size, seed, tuple(attacks), tuple(attacks.values())),
    )


def certificate_of(studies=30):
    return certificate(
        [simulated_once(PARAMS, 60, f"{number:016x}", (ATTACK,), (CASE,)) for number in range(2)],
        {f"{ATTACK}.projection_retention": 0.5, f"{ATTACK}.behaviour_change": 0.6 - 0.95},
        params=PARAMS,
        organisms=ORGANISM,
        truth="Planted.",
        study_sizes=(30,),
        seed=SEED,
        simulated_studies=studies,
        control_studies=3,
    )


def test_the_estimators_are_accepted_and_the_certificate_is_a_document():
    made = certificate_of()
    assert accept(made) == ()
    assert {cell.studies for cell in made.cells if not cell.quantity.startswith("simulated")} == {4}
    assert [control.passed for control in made.negative_controls] == [3, 3, 3]
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made
    names = {cell.quantity.rpartition(".")[2] for cell in made.cells}
    assert {"projection_retention", "gap_retention", "auroc", "recall", "shift_cosine", "attack_success"} <= names
    failed = made.negative_controls[1].model_copy(update={"passed": 0})
    assert any("erases" in reason for reason in accept(made.model_copy(update={"negative_controls": (failed,)})))


def test_a_retention_that_is_a_tenth_too_high_is_refused(monkeypatch):
    whole = estimates._fieller

    def mutant(means, *rest):
        return whole((means[0] * 1.1, means[1]), *rest)

    monkeypatch.setattr(estimates, "_fieller", mutant)
    assert any("projection_retention" in reason and "bias" in reason for reason in accept(certificate_of()))


def test_a_cosine_without_its_correction_is_refused(monkeypatch):
    real = per_arm._cosine

    def mutant(seen, level, *, measured, splits):
        found = real(seen, level, measured=measured, splits=splits)
        raw = seen.arm.step[measured.replace("cosine", "uncorrected")]
        return estimates.Estimate(raw, found.limits, found.n)

    monkeypatch.setattr(per_arm, "_cosine", mutant)
    assert any("cosine" in reason and "bias" in reason for reason in accept(certificate_of()))


def test_intervals_that_are_too_narrow_are_refused(monkeypatch):
    whole = estimates.mean_difference

    def narrow(attacked, clean, level):
        found = whole(attacked, clean, level)
        half = (found.limits[1] - found.limits[0]) / 6.0
        return estimates.Estimate(found.value, (found.value - half, found.value + half), found.n)

    monkeypatch.setattr(estimates, "mean_difference", narrow)
    assert any("log_odds_change" in reason and "coverage" in reason for reason in accept(certificate_of()))


def test_a_truth_about_nothing_that_is_measured_or_cannot_be_cut_is_an_error():
    for name in (f"{ATTACK}.resolve", f"{ATTACK}.shift_cosine"):
        with pytest.raises(ValueError, match="no observations"):
            certificate(
                [], {name: 1.0}, params=PARAMS, organisms=ORGANISM, truth="-", study_sizes=(9,), seed=SEED,
                simulated_studies=1,
            )  # fmt: skip


def test_studies_are_disjoint_and_keep_what_was_frozen():
    run = simulated_once(PARAMS, 60, SEED, (ATTACK,), (CASE,))
    studies = list(cut(run, PARAMS, 25, seed=SEED))
    reported = [{one.key.item for one in study if one.key.item.startswith("test")} for study in studies]
    assert [len(names) for names in reported] == [50, 50]
    assert not reported[0] & reported[1]
    kept = {one.key.item for one in run if not one.key.item.startswith("test")}
    assert all(kept <= {one.key.item for one in study} for study in studies)


def test_a_simulated_cell_names_its_case():
    (retention,) = (one for one in simulated(PARAMS, 30, seed=SEED, studies=5) if "projection_ret" in one.quantity)
    assert retention.quantity == "simulated.halved.projection_retention"
    assert (retention.truth, retention.studies, retention.estimable) == (0.5, 5, 5)


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
