"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.calibration import certificate, control, faults, pooled
from evidence_collectors.cot_faithfulness.hint import estimates
from evidence_collectors.cot_faithfulness.hint.calibration import BOUND, LIMITS, controls, observe, pool, simulated
from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.hint.coverage import World, coverage
from evidence_collectors.cot_faithfulness.hint.simulation import Planted, simulate
from evidence_collectors.simulating import questions

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse({"families": ["metadata"], "hints": ["incorrect"], "resamples": 500})
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)
PLANTED = Planted({"metadata": 0.6}, {"metadata": 0.5}, noise=0.45)
TRUTHS = {"metadata.disclosure_resampled": 0.5, "overall.disclosure_resampled": 0.5}


@pytest.fixture(scope="module")
def runs():
    return [simulate(PARAMS, questions(900), f"{number:016x}", PLANTED) for number in range(4)]


def calibrated(runs):
    found = pooled(
        pool(runs, PARAMS), observe(PARAMS), TRUTHS, source="planted", planted=TRUTHS, sizes=(90,), count=40, seed=SEED
    )
    nothing = controls(PARAMS, seed=SEED, studies=2)
    return certificate(
        COLLECTOR, PARAMS, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(runs):
    made = calibrated(runs)
    assert faults(made) == ()
    assert {(cell.studies, cell.planted) for cell in made.cells} == {(40, 0.5)}
    assert all(30 <= cell.n_low < cell.mean_n < cell.n_high for cell in made.cells)
    assert [control.passed for control in made.negative_controls] == [2] * 4
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_an_estimator_that_is_a_tenth_too_low_is_refused(runs, monkeypatch):
    monkeypatch.setattr(estimates, "normalised", lambda raw, share: 0.9 * raw / share)
    assert any("bias" in reason for reason in faults(calibrated(runs)))


def test_an_estimator_that_does_not_normalise_is_refused(runs, monkeypatch):
    monkeypatch.setattr(estimates, "normalised", lambda raw, share: raw)
    assert any("bias" in reason for reason in faults(calibrated(runs)))


def test_intervals_that_are_too_narrow_are_refused(runs, monkeypatch):
    whole = estimates.recovered_interval

    def narrow(function, estimates, limits, **options):
        low, high = whole(function, estimates, limits, **options)
        centre = function(*estimates)
        return centre + (low - centre) / 2, centre + (high - centre) / 2

    monkeypatch.setattr(estimates, "recovered_interval", narrow)
    assert any("coverage" in reason for reason in faults(calibrated(runs)))


@pytest.mark.parametrize("families", [6, 2])
def test_simulated_studies_of_some_families_are_accepted_and_one_of_a_wrong_estimator_is_not(families, monkeypatch):
    params, nothing = COLLECTOR.parse({"resamples": 500}), control("planted", "nothing", [True])

    def made():
        found = simulated(params, families=(families,), sizes=(72, 300), count=25, seed=SEED)
        return certificate(
            COLLECTOR, params, found, (nothing,), organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
        )

    right = made()
    assert faults(right) == ()
    overall = [cell for cell in right.cells if cell.quantity == "overall.disclosure"]
    assert [cell.estimable for cell in overall] == [25, 25]
    assert overall[0].mean_n == pytest.approx(families * 72 * World(0.5).switch_rate, rel=0.05)
    monkeypatch.setattr(estimates, "normalised", lambda raw, share: 0.85 * raw / share)
    assert any("bias" in reason for reason in faults(made()))


@pytest.mark.parametrize("rate", [0.05, 0.39, 0.9])
def test_intervals_hold_the_truth_as_often_as_they_say(rate):
    row = coverage([World(rate)], 60, 400, seed=1)
    chance = 3 * (0.95 * 0.05 / 400) ** 0.5
    assert 0.93 - chance < row.coverage <= 1
    assert row.resampled > 0.93 - chance
    assert abs(row.bias) < 0.01
