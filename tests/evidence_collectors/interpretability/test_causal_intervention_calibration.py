"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.interpretability.causal_intervention import estimates, observations
from evidence_collectors.interpretability.causal_intervention.calibration import accept, certificate, cut, summary
from evidence_collectors.interpretability.causal_intervention.collector import COLLECTOR
from evidence_collectors.interpretability.causal_intervention.simulation import Planted, simulate
from evidence_collectors.interpretability.quantities import Value

SEED = "0a0b0c0d0e0f0012"
PARAMS = COLLECTOR.parse({"layer": 1, "behaviour_tokens": ["I"], "markers": ["I cannot"], "strengths": [0.5]})
PLANTED = Planted(
    changed={("ablate", "positive"): 0.2, ("add_plus_1", "negative"): 0.6, ("add_minus_1", "positive"): 0.7}, nats=0.03
)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(scope="module")
def runs():
    return [simulate(PARAMS, f"{number:016x}", PLANTED, texts=480, neutral=200) for number in range(5)]


def calibrated(runs, **options):
    return certificate(
        runs,
        PLANTED.truths(PARAMS),
        params=PARAMS,
        organisms=ORGANISM,
        truth="planted",
        study_sizes=(60,),
        seed=SEED,
        control_studies=3,
        **options,
    )


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(runs):
    made = calibrated(runs)
    assert accept(made) == ()
    assert {one.studies for one in made.cells} == {40}
    assert [one.passed for one in made.negative_controls] == [3, 3]
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_a_change_that_leaves_out_the_gained_texts_is_refused(runs, monkeypatch):
    """The mutation: only what an intervention takes away is counted."""
    monkeypatch.setattr(estimates.Pairs, "change", property(lambda pairs: -pairs.lost / pairs.count))
    assert any("add_plus_1.change_negative" in reason and "bias" in reason for reason in accept(calibrated(runs)))


def test_intervals_that_are_too_narrow_are_refused(runs, monkeypatch):
    real = observations.change

    def narrow(pairs, holm_p, level):
        found = real(pairs, holm_p, level)
        return Value(found.estimate, tuple(found.estimate + (end - found.estimate) / 3 for end in found.limits))

    monkeypatch.setattr(observations, "change", narrow)
    assert any("change" in reason and "coverage" in reason for reason in accept(calibrated(runs)))


def test_a_test_without_holm_finds_effects_where_there_are_none(monkeypatch):
    monkeypatch.setattr(
        observations,
        "adjusted",
        lambda reading, planned, label, minimum: dict.fromkeys((one.name for one in planned), 0.0),
    )
    monkeypatch.setattr(estimates.Pairs, "limits", lambda pairs, level: (pairs.change - 0.01, pairs.change + 0.01))
    made = calibrated([simulate(PARAMS, SEED, PLANTED, texts=60)])
    assert any("does nothing" in reason for reason in accept(made))


def test_a_ratio_to_the_mean_control_would_pass_what_random_directions_do_as_well(monkeypatch):
    monkeypatch.setattr(observations, "ratio", lambda *_: Value(20.0, (15.0, 25.0)))
    made = calibrated([simulate(PARAMS, SEED, PLANTED, texts=60)])
    assert any("random directions that do as much" in reason for reason in accept(made))


def test_runs_with_nothing_to_find_travel_as_controls(runs):
    empty = simulate(PARAMS, "f" * 16, Planted(), texts=60)
    made = calibrated(runs[:1], null_runs={"random weights": [empty], "the planted one": [runs[0]]})
    assert [one.passed for one in made.negative_controls[-2:]] == [1, 0]


def test_studies_are_disjoint_and_leave_the_controls_out(runs):
    studies = list(cut(runs[0], 60, seed=SEED))
    assert len(studies) == 8
    seen = [{one.key.item for one in study if one.key.arm == "plain"} for study in studies]
    assert all(not left & right for place, left in enumerate(seen) for right in seen[place + 1 :])
    found = summary(studies[0], PARAMS)
    assert found["ablate.change_positive"].n == 60
    assert found["ablate.ratio_positive"].estimate is None


def test_a_truth_about_nothing_that_is_measured_is_an_error():
    with pytest.raises(ValueError, match="no observations"):
        certificate([], {"honesty": 1.0}, params=PARAMS, organisms=ORGANISM, truth="-", study_sizes=(9,), seed=SEED)
