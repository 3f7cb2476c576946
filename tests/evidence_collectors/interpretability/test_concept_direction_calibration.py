"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.interpretability.concept_direction import observations, separation
from evidence_collectors.interpretability.concept_direction.calibration import accept, certificate, cut, summary
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
    }
)
PLANTED = Planted(shift=1.5)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(scope="module")
def runs():
    return [simulate(PARAMS, f"{number:016x}", PLANTED, texts=320) for number in range(4)]


def calibrated(runs, **options):
    return certificate(
        runs,
        PLANTED.truths(),
        params=PARAMS,
        organisms=ORGANISM,
        truth="planted",
        study_sizes=(40,),
        seed=SEED,
        control_studies=2,
        **options,
    )


@pytest.fixture(scope="module")
def made(runs):
    return calibrated(runs)


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(made):
    assert accept(made) == ()
    assert {one.studies for one in made.cells} == {32}
    assert [one.passed for one in made.negative_controls] == [2] * 4
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_a_failed_control_a_bias_and_a_low_coverage_are_each_refused(made):
    control = made.negative_controls[0].model_copy(update={"passed": 0})
    assert "do not differ" in accept(made.model_copy(update={"negative_controls": (control,)}))[0]
    for update, word in (
        ({"mean_bias": 0.05}, "bias"),
        ({"coverage": 0.8}, "coverage"),
        ({"estimable": 9}, "estimable"),
    ):
        cell = made.cells[0].model_copy(update=update)
        assert word in accept(made.model_copy(update={"cells": (cell,)}))[0]


def test_an_auroc_that_counts_ties_of_sign_only_is_refused(runs, monkeypatch):
    """The mutation: half of the distance to chance is lost."""
    whole = separation.auroc
    monkeypatch.setattr(separation, "auroc", lambda up, low: 0.5 + 0.5 * ((whole(up, low) or 0.5) - 0.5))
    assert any("auroc" in reason and "bias" in reason for reason in accept(calibrated(runs)))


def test_intervals_that_are_too_narrow_are_refused(runs, monkeypatch):
    real = observations.mean_value

    def narrow(values, level):
        found = real(values, level)
        return Value(found.estimate, tuple(found.estimate + (end - found.estimate) / 2 for end in found.limits))

    monkeypatch.setattr(observations, "mean_value", narrow)
    assert any("bypass" in reason and "coverage" in reason for reason in accept(calibrated(runs)))


def test_a_margin_that_ignores_its_nulls_fails_a_negative_control(runs, monkeypatch):
    monkeypatch.setattr(
        separation,
        "minus",
        lambda first, second: Value(first[0] - 0.5, tuple(x - 0.5 for x in first[1])),
    )
    reasons = accept(calibrated(runs[:1]))
    assert any("every direction tells apart" in reason for reason in reasons)


def test_runs_with_nothing_to_find_travel_as_controls(runs, made):
    empty = simulate(PARAMS, "f" * 16, Planted(shift=0.0), texts=40)
    again = calibrated(runs[:1], null_runs={"random weights": [empty], "the planted one": [runs[0]]})
    assert [one.passed for one in again.negative_controls[-2:]] == [1, 0]


def test_studies_are_disjoint_and_hold_as_many_texts_of_each_class(runs):
    studies = list(cut(runs[0], 40, seed=SEED))
    assert len(studies) == 8
    seen = [{one.key.item for one in study if one.key.arm == "projection"} for study in studies]
    assert all(not left & right for place, left in enumerate(seen) for right in seen[place + 1 :])
    assert {
        one.n for study in studies[:2] for name, one in summary(study, PARAMS).items() if name.endswith("_auroc")
    } == {80}


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


def test_a_truth_about_nothing_that_is_measured_is_an_error():
    with pytest.raises(ValueError, match="no observations"):
        certificate([], {"honesty": 1.0}, params=PARAMS, organisms=ORGANISM, truth="-", study_sizes=(9,), seed=SEED)
    with pytest.raises(ValueError, match="no run has 9"):
        certificate([], {}, params=PARAMS, organisms=ORGANISM, truth="-", study_sizes=(9,), seed=SEED)
