"""The certificate accepts the estimator of gains and refuses one that is made wrong on purpose."""

from __future__ import annotations

import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.calibration import certificate, faults, pooled
from evidence_collectors.evaluation_awareness.sandbagging import estimates, gains
from evidence_collectors.evaluation_awareness.sandbagging.calibration import (
    BOUND,
    LIMITS,
    controls,
    observe,
    pool,
    simulated,
)
from evidence_collectors.evaluation_awareness.sandbagging.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.sandbagging.estimates import Pairs
from evidence_collectors.evaluation_awareness.sandbagging.reading import read
from evidence_collectors.evaluation_awareness.sandbagging.simulation import Planted, drawn, simulate
from evidence_collectors.simulating import questions

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse({"noise": [10]})
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)
PLANTED = Planted(0.4, {"few_shot": 0.7, "noise_10": 0.25, "tuned": 0.55, "tuned_sham": 0.45})


@pytest.fixture(scope="module")
def runs():
    return [simulate(PARAMS, questions(404), f"{number:016x}", PLANTED) for number in range(2)]


@pytest.fixture(scope="module")
def nothing():
    return controls(PARAMS, seed=SEED, studies=2)


def calibrated(runs, nothing):
    found = pooled(
        pool(runs, PARAMS),
        observe(PARAMS),
        PLANTED.truths(PARAMS),
        source="planted",
        planted={},
        sizes=(90,),
        count=40,
        seed=SEED,
    )
    return certificate(
        COLLECTOR, PARAMS, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(runs, nothing):
    made = calibrated(runs, nothing)
    assert faults(made) == ()
    assert {(cell.studies, cell.estimable) for cell in made.cells} == {(40, 40)}
    assert {cell.quantity for cell in made.cells} == set(PLANTED.truths(PARAMS))
    assert len(made.negative_controls) == 5
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_an_estimator_that_counts_what_was_won_and_not_what_was_lost_is_refused(runs, nothing, monkeypatch):
    monkeypatch.setattr(Pairs, "gain", property(lambda self: self.first_only / self.n))
    found = faults(calibrated(runs, nothing))
    assert any("few_shot.gain" in reason and "bias" in reason for reason in found)


def test_intervals_that_are_too_narrow_are_refused(runs, nothing, monkeypatch):
    whole = estimates.limits

    def narrow(counts, *, p_value, level):
        low, high = whole(counts, p_value=p_value, level=level)
        return tuple(counts.gain + (end - counts.gain) / 3 for end in (low, high))

    monkeypatch.setattr(gains.estimates, "limits", narrow)
    assert any("coverage" in reason for reason in faults(calibrated(runs, nothing)))


def test_controls_fail_for_an_estimator_that_finds_gains_everywhere(monkeypatch):
    whole = gains.pairs

    def biased(reading, first, second, rows=None):
        counts = whole(reading, first, second, rows)
        return Pairs(counts.both, counts.first_only + counts.neither, counts.second_only, 0, counts.unread)

    monkeypatch.setattr(gains, "pairs", biased)
    passed = {one.what: one.passed / one.studies for one in controls(PARAMS, seed=SEED, studies=2)}
    assert passed["simulated: no elicitation gains"] < 0.5
    assert passed["simulated: nearly all is right as asked"] == 1.0


def test_simulated_studies_are_of_every_elicitation_and_sham():
    params = COLLECTOR.parse({"noise": [10, 30]})
    found = list(simulated(params, sizes=(60,), count=8, seed=SEED))
    assert len(found) == 6
    names = {name for some in found for study in some.found for name in study}
    assert {"noise_30.gain", "few_shot_sham.gain", "tuned.gain_over_sham"} <= names
    assert {name for some in found for name in some.truths} == {"*.gain", "*.gain_over_sham", "*.accuracy"}


def test_a_reading_that_is_drawn_is_that_of_a_run_of_the_same_model():
    planted = Planted(0.4, {"few_shot": 0.7}, unread={"tuned": 0.2})
    by_run = read(simulate(PARAMS, questions(404), SEED, planted), PARAMS)
    by_draw = drawn(PARAMS, 4000, SEED, planted)
    assert by_run.named.keys() == by_draw.named.keys()
    for group in by_run.named:
        for what in (estimates.accuracy, lambda reading, one: float((reading.named[one] < 0).mean())):
            assert what(by_run, group) == pytest.approx(what(by_draw, group), abs=0.08), group
    assert by_run.draws.keys() == by_draw.draws.keys()
    assert estimates.chance(by_run) == estimates.chance(by_draw) == 0.25
