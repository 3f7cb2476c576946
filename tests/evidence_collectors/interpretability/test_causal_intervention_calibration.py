"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from dossier import model
from dossier.model import FileRef
from evidence_collectors import calibration
from evidence_collectors.calibration import faults, summary
from evidence_collectors.interpretability.causal_intervention import costs, estimates, observations
from evidence_collectors.interpretability.causal_intervention.calibration import (
    BOUND,
    LIMITS,
    by_arm,
    controls,
    costed,
    no_change,
    simulated,
    studied,
    uncontrolled,
)
from evidence_collectors.interpretability.causal_intervention.collector import COLLECTOR
from evidence_collectors.interpretability.causal_intervention.simulation import Planted, simulate
from evidence_collectors.interpretability.quantities import Value, mean_value
from evidence_collectors.models.hf import load
from tests.evidence_collectors.interpretability.planted_models import items, plant

SEED = "0a0b0c0d0e0f0012"
PARAMS = COLLECTOR.parse(
    {"layer": 1, "behaviour_tokens": ["I"], "markers": ["I cannot"], "strengths": [0.5], "control_items": 20}
)
PLANTED = Planted(
    changed={("ablate", "positive"): 0.2, ("add_plus_1", "negative"): 0.6, ("add_minus_1", "positive"): 0.7},
    nats=0.4,
    broken=0.2,
)
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


@pytest.fixture(scope="module")
def runs():
    """Four runs on the same texts, without control directions."""
    whole = [simulate(PARAMS, f"{number:016x}", PLANTED, texts=100) for number in range(4)]
    return [[one for one in run if not one.key.arm.startswith("control.")] for run in whole]


def pooled(runs):
    """Return true values: what all texts of all runs gave, which studies are drawn from."""
    shown: dict[tuple[str, str], list[float]] = {}
    odds: dict[tuple[str, str], list[float]] = {}
    for one in [trial for run in runs for trial in run if "answer" in trial.measurements]:
        key = (one.key.arm, one.measurements["label"])
        shown.setdefault(key, []).append(str(one.measurements["answer"]).startswith("I cannot"))
        odds.setdefault(key, []).append(float(one.measurements["log_odds"]))
    truths = {}
    for arm, label in shown:
        rate, plain = (math.fsum(shown[(name, label)]) / len(shown[(name, label)]) for name in (arm, "plain"))
        truths[f"{'baseline' if arm == 'plain' else arm}.rate_{label}"] = rate
        if arm != "plain":
            truths[f"{arm}.change_{label}"] = rate - plain
            shifts = [a - b for a, b in zip(odds[(arm, label)], odds[("plain", label)], strict=True)]
            truths[f"{arm}.log_odds_{label}"] = math.fsum(shifts) / len(shifts)
    return truths


def made(studies, nothing=None):
    nothing = controls(PARAMS, seed=SEED, studies=3) if nothing is None else nothing
    return calibration.certificate(
        COLLECTOR, PARAMS, studies, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def on_runs(runs, count=25):
    return list(studied(runs, pooled(runs), PARAMS, source="drawn", sizes=(40,), count=count, seed=SEED))


def few(count=2):
    return list(simulated(PARAMS, {"planted": PLANTED}, sizes=((30, 140),), count=count, seed=SEED))


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(runs):
    found = made([*on_runs(runs), *few(25)])
    assert faults(found) == ()
    assert {one.studies for one in found.cells} == {25}
    assert [one.passed for one in found.negative_controls] == [3, 3]
    assert model.parse(model.Calibration, model.dump(found), where="calibration") == found
    names = {one.quantity for one in found.cells}
    assert names == {
        "*.capability",
        *(f"*.{what}_{label}" for what in ("rate", "change", "log_odds") for label in ("positive", "negative")),
        "*.degeneration",
    }
    assert any(one.speaks_of("add_plus_4.change_negative") for one in found.cells)


def test_a_change_that_leaves_out_the_gained_texts_is_refused(runs, monkeypatch):
    """The mutation: only what an intervention takes away is counted."""
    monkeypatch.setattr(estimates.Pairs, "change", property(lambda pairs: -pairs.lost / pairs.count))
    reasons = faults(made(on_runs(runs, 20)))
    assert any("*.change_negative" in reason and "add_plus_1" in reason and "bias" in reason for reason in reasons)


def test_intervals_that_are_too_narrow_are_refused(runs, monkeypatch):
    real = observations.change

    def narrow(pairs, holm_p, level):
        found = real(pairs, holm_p, level)
        return Value(found.estimate, tuple(found.estimate + (end - found.estimate) / 3 for end in found.limits))

    monkeypatch.setattr(observations, "change", narrow)
    assert any("*.change_positive" in reason and "coverage" in reason for reason in faults(made(on_runs(runs, 20))))


def lost(run, **options):
    """Return studies of what 140 neutral texts lose, drawn from those of a run, and the truth: what all of them lose."""
    truths = {}
    for one in run:
        if one.key.arm.startswith("capability."):
            held = one.measurements
            truths[f"{one.key.arm.removeprefix('capability.')}.capability"] = math.fsum(held["edited"]) / len(
                held["edited"]
            ) - math.fsum(held["plain"]) / len(held["plain"])
    known = {**truths, "ablate.rate_positive": 0.2}
    return costed(run, known, PARAMS, source="drawn", **{"size": 140, "count": 30, "seed": SEED, **options})


def test_what_neutral_texts_lose_is_studied_by_drawing_them(runs):
    found = lost(runs[0])
    assert set(found.truths) == {"ablate.capability", "add_minus_1.capability", "add_plus_1.capability"}
    assert {one["ablate.capability"].n for one in found.found} == {140}
    assert len({one["ablate.capability"].estimate for one in found.found}) == 30
    assert faults(made(by_arm(found))) == ()
    assert {one["add_plus_1.capability"].n for one in lost(runs[0], size=40, count=2).found} == {40}


def test_a_cost_that_leaves_out_the_tenth_that_lose_most_is_refused(runs, monkeypatch):
    """The mutation: what most texts lose stands for what all do."""
    real = costs.mean_value
    monkeypatch.setattr(costs, "mean_value", lambda values, level: real(np.sort(values)[: -len(values) // 10], level))
    reasons = faults(made(by_arm(lost(runs[0]))))
    assert any("*.capability" in reason and "bias" in reason for reason in reasons)
    assert any("*.capability" in reason and "coverage" in reason for reason in reasons)


def test_a_mean_of_few_skewed_numbers_is_held_and_by_students_interval_it_is_not():
    words, held, plainly = np.random.default_rng(5), 0, 0
    for _ in range(2000):
        values = words.standard_normal(20) ** 2
        found = mean_value(values, 0.95)
        assert found.estimate == pytest.approx(values.mean())
        held += found.limits[0] <= 1.0 <= found.limits[1]
        plainly += abs(values.mean() - 1.0) <= 2.0930241 * values.std(ddof=1) / np.sqrt(20)
    assert plainly / 2000 < 0.91
    assert held / 2000 > 0.93


def test_a_test_without_holm_finds_effects_where_there_are_none(monkeypatch):
    monkeypatch.setattr(
        observations,
        "adjusted",
        lambda reading, planned, label, minimum: dict.fromkeys((one.name for one in planned), 0.0),
    )
    monkeypatch.setattr(estimates.Pairs, "limits", lambda pairs, level: (pairs.change - 0.01, pairs.change + 0.01))
    assert any("does nothing" in reason for reason in faults(made(few())))


def test_a_ratio_to_the_mean_control_would_pass_what_random_directions_do_as_well(monkeypatch):
    monkeypatch.setattr(observations, "ratio", lambda *_: Value(20.0))
    assert any("random directions that do as much" in reason for reason in faults(made(few())))


def test_no_change_is_a_matter_of_every_arm_or_of_the_one_that_is_asked():
    moved = summary(COLLECTOR, simulate(PARAMS, SEED, PLANTED, texts=60), PARAMS)
    assert not no_change(moved)
    assert not no_change(moved, arm="ablate.")
    still = Planted(changed={("add_plus_1", "negative"): 0.6})
    assert no_change(summary(COLLECTOR, simulate(PARAMS, SEED, still, texts=60), PARAMS), arm="ablate.")
    assert no_change(summary(COLLECTOR, simulate(PARAMS, SEED, Planted(), texts=60), PARAMS))


def test_a_study_keeps_the_answers_of_one_text_and_run_together(runs):
    """Every study is of 40 texts a class, and a change is the difference of its own rates."""
    studies = {one.source: one for one in on_runs(runs, 3)}
    assert {found["ablate.rate_positive"].n for found in studies["drawn, ablate"].found} == {40}
    plain, ablate = studies["drawn, baseline"], studies["drawn, ablate"]
    for before, after in zip(plain.found, ablate.found, strict=True):
        difference = after["ablate.rate_positive"].estimate - before["baseline.rate_positive"].estimate
        assert after["ablate.change_positive"].estimate == pytest.approx(difference, abs=1e-12)
        assert after["ablate.ratio_positive"].estimate is None


def test_studies_of_one_arm_hold_nothing_of_another(runs):
    whole = calibration.Studies(
        "x", {"ablate.rate_positive": 0.2, "baseline.rate_positive": 0.9}, [summary(COLLECTOR, runs[0], PARAMS)]
    )
    found = {one.source: one for one in by_arm(whole)}
    assert {name: one.truths for name, one in found.items()} == {
        "x, ablate": {"*.rate_positive": 0.2},
        "x, baseline": {"*.rate_positive": 0.9},
    }
    assert all(name.startswith("ablate.") for name in found["x, ablate"].found[0])


def test_answers_drawn_once_change_one_way_only():
    once = Planted(changed={("ablate", "positive"): 0.5, ("add_plus_1", "negative"): 0.5}, one_draw=True)
    found = summary(COLLECTOR, simulate(PARAMS, SEED, once, texts=80), PARAMS)
    facts = {name: found[name].facts for name in ("ablate.change_positive", "add_plus_1.change_negative")}
    assert facts["ablate.change_positive"]["gained"] == 0 < facts["ablate.change_positive"]["lost"]
    assert facts["add_plus_1.change_negative"]["lost"] == 0 < facts["add_plus_1.change_negative"]["gained"]


def test_a_run_without_controls_is_the_start_of_a_whole_one(tmp_path):
    planted = load(str(plant(tmp_path, "llama").folder))
    params = PARAMS.model_copy(update={"layer": 0, "max_tokens": 2, "temperature": 1.0})
    rows = items(train=8, validation=0, test=20, transfer=0, neutral=8)
    run = uncontrolled(planted, rows, params, SEED)
    promised = [one.key for one in COLLECTOR.expected(params, rows, SEED)]
    assert Counter(one.key.order for one in run) == Counter(
        key.order for key in promised if not key.arm.startswith("control.")
    )
    assert all(one.error is None for one in run)
