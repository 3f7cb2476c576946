"""The certificate accepts the estimators on planted numbers and refuses them once they are made wrong on purpose."""

from __future__ import annotations

import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.interpretability.sae_features import calibration, estimates
from evidence_collectors.interpretability.sae_features.calibration import accept, certificate, cut
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.interpretability.sae_features.estimates import Quantity
from evidence_collectors.interpretability.sae_features.simulation import Planted, simulate

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse({"behaviour_tokens": ["no"], "top_k": 1, "permutations": 500})
PLANTED = Planted(separation=1.2)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(scope="module")
def runs():
    return [simulate(PARAMS, 240, f"{number:016x}", PLANTED) for number in range(2)]


def calibrated(runs, *, control_studies=2, truths=None):
    return certificate(
        runs,
        truths or PLANTED.truths(PARAMS),
        params=PARAMS,
        organisms=ORGANISM,
        truth="planted",
        study_sizes=(12,),
        seed=SEED,
        control_studies=control_studies,
    )


def test_the_estimators_are_accepted_and_the_certificate_is_a_document(runs):
    made = calibrated(runs)
    assert accept(made) == ()
    assert {cell.studies for cell in made.cells} == {40}
    assert {cell.quantity for cell in made.cells} == set(PLANTED.truths(PARAMS))
    assert [control.passed for control in made.negative_controls] == [2] * 6
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made
    failed = made.negative_controls[0].model_copy(update={"passed": 0})
    refused = accept(made.model_copy(update={"negative_controls": (failed,)}))
    assert any("without anything of the concept" in reason for reason in refused)


def test_studies_are_disjoint_and_keep_what_belongs_to_no_item(runs):
    studies = list(cut(runs[0], 12, seed=SEED, run=0))
    assert len(studies) == 20
    clusters = [{one.measurements["cluster"] for one in study if "cluster" in one.measurements} for study in studies]
    assert all(len(held) == 24 for held in clusters)
    assert len(set.union(*clusters)) == 20 * 24
    assert all(any(one.key.arm == "subject" for one in study) for study in studies)


def ablation(runs):
    return calibrated(runs, control_studies=1, truths={"ablation.fall": 2.0, "health.fvu": 0.2})


def test_an_effect_that_is_a_tenth_too_small_is_refused(runs, monkeypatch):
    whole = estimates.ratio

    def small(*args, **options):
        found = whole(*args, **options)
        return Quantity(0.9 * found.estimate, (0.9 * found.limits[0], 0.9 * found.limits[1]))

    monkeypatch.setattr(estimates, "ratio", small)
    assert any("bias" in reason for reason in accept(ablation(runs)))


def test_intervals_that_take_items_of_a_pair_for_independent_are_refused(runs, monkeypatch):
    whole = estimates.ratio

    def alone(above, below, clusters, *, level):
        found = whole(above, below, [str(row) for row in range(len(clusters))], level=level)
        centre = found.estimate
        return Quantity(centre, tuple(centre + 0.6 * (end - centre) for end in found.limits))

    monkeypatch.setattr(estimates, "ratio", alone)
    assert any("coverage" in reason for reason in accept(ablation(runs)))


def test_a_margin_that_forgets_its_null_fails_the_controls(monkeypatch):
    monkeypatch.setattr(estimates, "margin", lambda quantity, null: quantity)
    found = calibration.controls(PARAMS, seed=SEED, studies=2)
    assert [control.passed for control in found if control.expected.startswith("set.auroc_margin")] == [0, 0, 0]


def test_a_truth_about_nothing_that_is_measured_is_an_error(runs):
    with pytest.raises(ValueError, match="no observations"):
        calibrated(runs, truths={"deception": 1.0})
    with pytest.raises(ValueError, match="clusters of items"):
        certificate(
            runs, {}, params=PARAMS, organisms=ORGANISM, truth="-", study_sizes=(1000,), seed=SEED, control_studies=1
        )
