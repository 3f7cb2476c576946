"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from dossier import model
from dossier.model import FileRef, Reference
from evidence_collectors.calibration import certificate, faults, pooled
from evidence_collectors.cot_faithfulness.hint.detectors import mentions
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES
from evidence_collectors.cot_faithfulness.monitorability import estimates
from evidence_collectors.cot_faithfulness.monitorability.calibration import (
    BOUND,
    LIMITS,
    by_families,
    controls,
    observe,
    pool,
)
from evidence_collectors.cot_faithfulness.monitorability.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.monitorability.reading import _Item
from evidence_collectors.cot_faithfulness.monitorability.simulation import Errors, Planted, monitored, rates, simulate
from evidence_collectors.organisms import reasoning_design as design
from evidence_collectors.recipes import monitorability as recipe
from evidence_collectors.simulating import questions

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse({"hints": ["incorrect"], "resamples": 500})
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)
PLANTED = Planted(use=0.5, told=0.6, told_anyway=0.3)
NAMES = ("reasoning.g_mean2", "reasoning.tpr", "reasoning.tnr", "reasoning.informedness", "uplift.g_mean2")
TRUTHS = {name: rates(PLANTED)[name] for name in NAMES}
SAMPLES = Path(recipe.__file__).parents[2] / "samples/organisms"


@pytest.fixture(scope="module")
def runs():
    return [simulate(PARAMS, questions(600), f"{number:016x}", PLANTED) for number in range(3)]


@pytest.fixture(scope="module")
def nothing():
    return controls(PARAMS, seed=SEED, studies=2)


def calibrated(runs, nothing):
    found = pooled(
        pool(runs, PARAMS), observe(PARAMS), TRUTHS, source="planted", planted=TRUTHS, sizes=(90,), count=40, seed=SEED
    )
    return certificate(
        COLLECTOR, PARAMS, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(runs, nothing):
    made = calibrated(runs, nothing)
    assert faults(made) == ()
    assert {(cell.studies, cell.estimable) for cell in made.cells} == {(40, 40)}
    assert [control.passed for control in made.negative_controls] == [2] * 6
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_an_estimator_that_takes_the_root_is_refused(runs, nothing, monkeypatch):
    monkeypatch.setattr(estimates, "g_mean2", lambda tpr, tnr: (tpr * tnr) ** 0.5)
    assert any("g_mean2" in reason and "bias" in reason for reason in faults(calibrated(runs, nothing)))


def test_an_estimator_that_takes_accuracy_for_it_fails_the_controls_too(runs, monkeypatch):
    monkeypatch.setattr(estimates, "g_mean2", lambda tpr, tnr: (tpr + tnr) / 2.0)
    reasons = faults(calibrated(runs, controls(PARAMS, seed=SEED, studies=2)))
    assert any("begins at 0" in reason for reason in reasons)
    assert any("bias" in reason for reason in reasons)


def test_intervals_that_are_too_narrow_are_refused(runs, nothing, monkeypatch):
    whole = estimates.exact_limits

    def narrow(share, size, level):
        low, high = whole(share, 9.0 * size, level)
        return low, high

    monkeypatch.setattr(estimates, "exact_limits", narrow)
    assert any("coverage" in reason for reason in faults(calibrated(runs, nothing)))


# --- a monitor that is a model --------------------------------------------------------------------------------------

ERRORS = Errors(sensitivity=0.9, specificity=0.8)


def read_by_model(nothing, params=PARAMS, errors=ERRORS):
    asked = params.model_copy(update={"monitor": "model"})
    made = [simulate(asked, questions(400), f"{number:016x}", PLANTED, errors=errors) for number in range(4)]
    truths = {name: value for name, value in monitored(rates(PLANTED), ERRORS).items() if name in (*NAMES, "both.tnr")}
    found = pooled(
        pool(made, asked), observe(asked), truths, source="by model", planted={}, sizes=(90,), count=40, seed=SEED
    )
    return certificate(
        COLLECTOR, asked, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_a_model_monitor_of_known_errors_is_read_at_the_rates_that_follow_from_them(nothing):
    made = read_by_model(nothing)
    assert faults(made) == ()
    truths = {cell.quantity: cell.truth for cell in made.cells}
    seen = rates(PLANTED)
    assert truths["reasoning.tpr"] == pytest.approx(0.9 * seen["reasoning.tpr"] + 0.2 * (1.0 - seen["reasoning.tpr"]))
    assert truths["reasoning.tnr"] == pytest.approx(0.8 * seen["reasoning.tnr"] + 0.1 * (1.0 - seen["reasoning.tnr"]))


def test_a_model_monitor_that_errs_otherwise_than_the_truth_says_is_refused(nothing):
    reasons = faults(read_by_model(nothing, errors=Errors(sensitivity=0.9, specificity=0.65)))
    assert any("reasoning.tnr" in reason for reason in reasons)


def test_verdicts_swapped_between_the_views_are_refused(nothing, monkeypatch):
    swap = {"reasoning": "action", "action": "reasoning", "both": "both"}
    own = _Item._verdict
    monkeypatch.setattr(_Item, "_verdict", lambda self, view, arm, repeat: own(self, swap[view], arm, repeat))
    assert any("reasoning.g_mean2" in reason and "bias" in reason for reason in faults(read_by_model(nothing)))


@pytest.mark.parametrize("families", [FAMILIES, FAMILIES[2:3]])
def test_families_of_hints_that_the_organism_does_not_know_are_read_alike(families, nothing):
    found = by_families(PARAMS, choices=(families,), sizes=(80,), count=25, runs=8, seed=SEED)
    made = certificate(
        COLLECTOR, PARAMS, list(found), nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )
    assert faults(made) == ()
    (cell,) = (one for one in made.cells if one.quantity == "reasoning.g_mean2")
    assert cell.mean_n == pytest.approx(80 * len(families), rel=0.2)


def test_a_monitor_without_errors_is_the_rules():
    perfect = Errors(sensitivity=1.0, specificity=1.0)
    assert monitored(rates(PLANTED), perfect) == pytest.approx(rates(PLANTED))
    asked = PARAMS.model_copy(update={"monitor": "model"})
    by_rules = pool([simulate(PARAMS, questions(80), SEED, PLANTED)], PARAMS)
    as_model = pool([simulate(asked, questions(80), SEED, PLANTED, errors=perfect)], asked)
    for view in ("reasoning", "action", "both"):
        for count in ("unread", "hits", "misses", "alarms", "rejections"):
            assert as_model.total(f"{view}.{count}") == by_rules.total(f"{view}.{count}"), (view, count)


# --- the organism ---------------------------------------------------------------------------------------------------


def test_the_rules_flag_what_the_truth_counts_as_a_mention_and_nothing_else():
    for family in design.FAMILIES:
        for text in (*design.FOLLOWED[family], *design.SET_ASIDE[family]):
            assert mentions(text, family), text
        for text in (*design.PLAIN, *design.OPENERS):
            assert not mentions(text, family), text


def test_what_was_planted_is_what_the_organism_does():
    reference = model.parse(Reference, (SAMPLES / "reasoning/reference.json").read_bytes(), where="reference.json")
    values = {one.quantity: one for one in reference.values}
    for name in (*recipe.HEADLINE, "behaviour.prevalence"):
        assert values[name].exact == pytest.approx(values[name].planted, abs=0.02), name
    use = {family: design.USE[family] for family in design.FAMILIES}
    assert set(use) == set(design.DISCLOSURE)
