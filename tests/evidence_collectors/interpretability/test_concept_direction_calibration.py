"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.calibration import certificate, faults, summary
from evidence_collectors.interpretability.concept_direction import observations, separation
from evidence_collectors.interpretability.concept_direction.calibration import (
    BOUND,
    LIMITS,
    controls,
    no_margin,
    not_estimable,
    simulated,
    studied,
)
from evidence_collectors.interpretability.concept_direction.collector import COLLECTOR
from evidence_collectors.interpretability.concept_direction.simulation import Planted, simulate
from evidence_collectors.interpretability.quantities import Value

SEED = "0a0b0c0d0e0f0011"
PARAMS = COLLECTOR.parse(
    {
        "layers": [1],
        "behaviour_tokens": ["I"],
        "random_directions": 50,
        "shuffles": 20,
        "twins": 1,
        "random_interventions": 5,
        "control_set": "everyday",
    }
)
PLANTED = Planted(shift=1.5)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(scope="module")
def run():
    return simulate(PARAMS, "1" * 16, PLANTED, texts=1000)


def calibrated(run):
    """Studies of a long run: its texts are the population, all but equal to what they were drawn from."""
    truths = PLANTED.truths() | PLANTED.recalls(PARAMS)
    found = studied(run, truths, PARAMS, source="planted", sizes=(40,), count=30, seed=SEED)
    nothing = controls(PARAMS, seed=SEED, studies=2)
    return certificate(
        COLLECTOR, PARAMS, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


@pytest.fixture(scope="module")
def made(run):
    return calibrated(run)


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(made):
    assert faults(made) == ()
    assert {one.studies for one in made.cells} == {30}
    assert {"test.divergence", "test.direction_recall", "transfer.probe_recall"} <= {one.quantity for one in made.cells}
    assert [one.passed for one in made.negative_controls] == [2] * 4
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_an_auroc_that_counts_ties_of_sign_only_is_refused(run, monkeypatch):
    """The mutation: half of the distance to chance is lost."""
    whole = separation.auroc
    monkeypatch.setattr(separation, "auroc", lambda up, low: 0.5 + 0.5 * ((whole(up, low) or 0.5) - 0.5))
    assert any("auroc" in reason and "bias" in reason for reason in faults(calibrated(run)))


def test_intervals_that_are_too_narrow_are_refused(run, monkeypatch):
    real = observations.mean_value

    def narrow(values, level):
        found = real(values, level)
        return Value(found.estimate, tuple(found.estimate + (end - found.estimate) / 2 for end in found.limits))

    monkeypatch.setattr(observations, "mean_value", narrow)
    assert any("bypass" in reason and "coverage" in reason for reason in faults(calibrated(run)))


def test_a_recall_at_a_looser_threshold_is_refused(run, monkeypatch):
    """The mutation: the threshold lets one control in ten through, not one in a hundred."""
    real = separation.recall_at_fpr
    monkeypatch.setattr(separation, "recall_at_fpr", lambda up, controls, *, fpr: real(up, controls, fpr=10.0 * fpr))
    reasons = faults(calibrated(run))
    assert any("direction_recall" in reason and "bias" in reason for reason in reasons)
    assert any("probe_recall" in reason and "coverage" in reason for reason in reasons)


def test_a_divergence_of_half_its_size_is_refused(run, monkeypatch):
    real = observations.mean_value

    def halved(values, level):
        return real(values / 2.0 if (values >= 0.0).all() and values.mean() < 0.1 else values, level)

    monkeypatch.setattr(observations, "mean_value", halved)
    assert any("test.divergence" in reason and "coverage" in reason for reason in faults(calibrated(run)))


def test_the_planted_recall_is_that_of_the_drawn_scores_over_the_simulated_controls():
    trials = [one for one in simulate(PARAMS, SEED, PLANTED, texts=800) if one.key.arm == "projection"]
    controls_ = sorted(one.measurements["direction"][0] for one in trials if one.measurements["control"])
    above = [one.measurements["direction"][0] for one in trials if one.measurements["label"] == "positive"]
    assert len(controls_) == 300
    found = np.mean([score > controls_[-4] for score in above])
    assert found == pytest.approx(PLANTED.recalls(PARAMS)["test.direction_recall"], abs=0.04)
    assert PLANTED.recalls(PARAMS.model_copy(update={"control_set": None})) == {}


def test_a_margin_that_ignores_its_nulls_fails_a_control_and_has_a_bias(run, monkeypatch):
    monkeypatch.setattr(
        separation,
        "minus",
        lambda first, second: Value(first[0] - 0.5, tuple(x - 0.5 for x in first[1])),
    )
    assert any("every direction tells apart" in reason for reason in faults(calibrated(run)))


def test_a_margin_is_calibrated_against_what_the_nulls_reach_at_its_own_n():
    (low, *_) = simulated(PARAMS, sizes=(40,), count=3, seed=SEED)
    (wide, *_) = simulated(PARAMS, sizes=(80,), count=1, seed=SEED)
    assert low.truths["test.direction_margin"] < wide.truths["test.direction_margin"]
    assert low.truths["test.direction_margin"] < low.truths["test.direction_auroc"] - 0.5


def test_runs_with_nothing_to_find_are_told_from_the_planted_one(run):
    empty = summary(COLLECTOR, simulate(PARAMS, "f" * 16, Planted(shift=0.0), texts=40), PARAMS)
    unmoved = summary(COLLECTOR, simulate(PARAMS, "f" * 16, Planted(induces=False), texts=40), PARAMS)
    assert no_margin(empty)
    assert not no_margin(summary(COLLECTOR, run, PARAMS))
    assert not_estimable(unmoved)
    assert not not_estimable(empty)


def test_studies_hold_as_many_texts_of_each_class_as_asked_for(run):
    (found,) = studied(run, {}, PARAMS, source="planted", sizes=(40,), count=3, seed=SEED)
    assert {one.n for study in found.found for name, one in study.items() if name.endswith("_auroc")} == {80}


def test_the_planted_auroc_is_that_of_the_drawn_scores():
    trials = simulate(PARAMS, SEED, PLANTED, texts=300)
    scores = {
        label: np.array(
            [
                one.measurements["direction"][0]
                for one in trials
                if one.key.arm == "projection" and one.measurements["label"] == label
            ]
        )
        for label in ("positive", "negative")
    }
    above = (scores["positive"][:, None] > scores["negative"][None, :]).mean()
    assert above == pytest.approx(PLANTED.auroc, abs=0.05)


@pytest.mark.parametrize(("apart", "least", "most"), [(0.0, 0.0, 0.2), (4.0, 0.8, 1.0)])
def test_a_recall_stands_beside_that_of_directions_with_nothing_to_find(apart, least, most):
    """Each at a threshold of its own; where they recall as many texts, that is said."""
    trials = simulate(PARAMS, SEED, Planted(shift=4.0, null_shift=apart), texts=60)
    found = summary(COLLECTOR, trials, PARAMS)
    for name in ("test.direction_recall", "transfer.probe_recall"):
        recall = found[name]
        assert recall.estimate > 0.8
        assert least <= recall.null.estimate <= most
        assert recall.null.low <= recall.null.estimate <= recall.null.high
        assert "frozen alike" in recall.null.what
        assert {f"null_{one}" for one in ("random_q95", "shuffled_q95", "twin_largest")} <= set(recall.facts)
        flagged = any("no information" in limit for limit in recall.limits)
        assert flagged == (recall.estimate <= recall.null.estimate)
    assert any("no information" in limit for limit in found["test.direction_recall"].limits) == (apart > 0.0)
