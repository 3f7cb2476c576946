"""The certificate accepts the estimators and refuses ones that are made wrong on purpose."""

from __future__ import annotations

import math

import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors.calibration import certificate, control, faults, seeds, summary
from evidence_collectors.evaluation_awareness import calibrating
from evidence_collectors.evaluation_awareness.probe import effects, estimates, separation
from evidence_collectors.evaluation_awareness.probe.calibration import (
    BOUND,
    LIMITS,
    at_chance,
    confounded,
    controls,
    no_effect,
    simulated,
    studied,
)
from evidence_collectors.evaluation_awareness.probe.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.probe.simulation import Planted, simulate
from evidence_collectors.interpretability.quantities import Value

SEED = "0a0b0c0d0e0f0012"
READ = COLLECTOR.parse({"layer": 1, "strengths": [], "shuffles": 20, "twins": 1})
ALONE = READ.model_copy(update={"cells": ()})
PUSH = COLLECTOR.parse(
    {
        "layer": 0,
        "cells": [],
        "shuffles": 20,
        "twins": 1,
        "strengths": [0.5],
        "markers": ["I cannot"],
        "random_directions": 5,
        "positive_control": True,
    }
)
UNCONTROLLED = PUSH.model_copy(update={"positive_control": False})
WORKS = {("known_minus", "behaviour", context): 0.1 for context in ("evaluation", "deployment")}
MOVES = Planted(
    moved=WORKS | {("minus_1", "behaviour", "evaluation"): 0.5, ("plus_1", "verbalised", "deployment"): 0.4}
)
ABOVE = Planted(probe=2.0, words=1.0, pair=0.3)
PASSED = (control("nothing", "nothing", [True]),)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Controls of few studies: their number is the recipe's matter."""
    assert calibrating.LEAST_STUDIES >= 20
    monkeypatch.setattr(calibrating, "LEAST_STUDIES", 3)


def made(studies, nothing=PASSED):
    return certificate(
        COLLECTOR, PUSH, studies, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def reading(count=40, planted=ABOVE):
    return list(simulated(ALONE, {"above": planted}, sizes=(30,), count=count, seed=SEED))


def pushing(count=25):
    return list(simulated(PUSH, {"moves": MOVES}, sizes=(40,), count=count, seed=SEED))


def nothing():
    return controls(READ, UNCONTROLLED, seed=SEED, studies=3)


def test_the_estimators_are_accepted_and_the_certificate_is_a_document():
    found = made([*reading(), *pushing()], nothing())
    assert faults(found) == ()
    assert model.parse(model.Calibration, model.dump(found), where="calibration") == found
    names = {one.quantity for one in found.cells}
    assert {"*.auroc", "*.margin", "*.words_auroc", "*.length_auroc", "*.valid"} <= names
    assert {
        f"*.{rate}_shift_{c}" for rate in ("behaviour", "verbalised") for c in ("evaluation", "deployment")
    } <= names
    assert any(one.speaks_of("from_chat.margin") for one in found.cells)
    assert len(found.negative_controls) == 5


def test_a_margin_that_forgets_the_words_is_refused(monkeypatch):
    """The mutation: the probe is compared with chance alone."""

    def forgetful(found, level):
        probe = found.readers["probe"]
        low, high = estimates.clustered.area(probe, level)
        return Value(probe.estimate - 0.5, (low - 0.5, high - 0.5))

    monkeypatch.setattr(separation, "margin", forgetful)
    reasons = faults(made(reading(20), nothing()))
    assert any("*.margin" in reason and "bias" in reason for reason in reasons)
    assert any("the words tell as much" in reason for reason in reasons)


def test_intervals_that_are_too_narrow_are_refused(monkeypatch):
    real = separation.area_value

    def narrow(part, level):
        found = real(part, level)
        return Value(found.estimate, tuple(found.estimate + (end - found.estimate) / 3 for end in found.limits))

    monkeypatch.setattr(separation, "area_value", narrow)
    assert any("*.auroc" in reason and "coverage" in reason for reason in faults(made(reading(25))))


def test_a_shift_that_counts_only_losses_is_refused(monkeypatch):
    real = effects.shift

    def lopsided(plain, pushed, pairs, level):
        return real(plain, pushed * plain, pairs, level)

    monkeypatch.setattr(effects, "shift", lopsided)
    reasons = faults(made(pushing(15)))
    assert any("*.verbalised_shift_deployment" in reason and "bias" in reason for reason in reasons)


def test_a_confound_that_is_not_looked_for_is_found_missing(monkeypatch):
    monkeypatch.setattr(separation, "association", lambda counts: 0.0)
    assert any("format goes with context" in reason for reason in faults(made(reading(4), nothing())))


def test_studies_on_a_run_are_drawn_pair_by_pair():
    run = simulate(READ, SEED, ABOVE, pairs=60)
    whole = summary(COLLECTOR, run, READ)
    truths = {f"{group}.auroc": whole[f"{group}.auroc"].estimate for group in ("test", "from_chat")}
    found = list(studied([run], truths, READ, source="drawn", sizes=(25,), count=12, seed=SEED))
    assert [one.source for one in found] == ["drawn, test", "drawn, from_chat"]
    for studies, n in zip(found, (100, 50), strict=True):
        (name,) = studies.truths
        assert name == "*.auroc"
        assert {one[next(iter(one))].n for one in studies.found} == {n}
        areas = [one[f"{studies.source.rpartition(', ')[2]}.auroc"].estimate for one in studies.found]
        assert len(set(areas)) > 1
        assert math.fsum(areas) / len(areas) == pytest.approx(studies.truths[name], abs=0.05)
        assert all(one["test.auroc"].facts["matched_sets"] == 25 for one in studies.found if "test.auroc" in one)


def test_several_runs_are_pooled_without_mixing_their_answers():
    runs = [simulate(PUSH, f"{number:016x}", MOVES, pairs=30) for number in range(2)]
    (studies,) = studied(
        runs, {"plain.behaviour_evaluation": 0.9}, PUSH, source="drawn", sizes=(40,), count=2, seed=SEED
    )
    assert {one["plain.behaviour_evaluation"].n for one in studies.found} == {40}


def test_what_the_controls_ask_for():
    def said(planted):
        return [summary(COLLECTOR, simulate(READ, own, planted, pairs=40), READ) for own in seeds(SEED, "x", 6)]

    nothing_, above, mixed = (said(one) for one in (Planted(probe=0.0, words=0.0), ABOVE, Planted(confounded=True)))
    assert sum(map(at_chance, nothing_)) >= 5, "an interval misses one in twenty"
    assert not any(map(at_chance, above))
    assert all(map(confounded, mixed))
    assert not any(map(confounded, above))
    moved = summary(COLLECTOR, simulate(UNCONTROLLED, SEED, MOVES, pairs=60), UNCONTROLLED)
    assert not no_effect(moved)
