"""The instrument for behaviour shifts pairs scenarios, finds what is planted and holds its level where nothing shifts."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dossier import canonical
from dossier.collector import Inputs
from dossier.comparison import mcnemar_exact, paired_difference_interval
from dossier.errors import ConfigError, IntegrityError
from dossier.faults import WORDS
from dossier.model import FileRef, Reference, Trial, parse
from evidence_collectors.calibration import certificate, faults
from evidence_collectors.evaluation_awareness.behaviour_shift import estimates
from evidence_collectors.evaluation_awareness.behaviour_shift.calibration import BOUND, LIMITS, controls, simulated
from evidence_collectors.evaluation_awareness.behaviour_shift.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.behaviour_shift.simulation import SHOWN, Planted, simulate
from evidence_collectors.evaluation_awareness.simulating import items
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import cues

SEED = "00ff00ff00ff00ff"
MARKED = {"markers": [SHOWN], "match": "anywhere"}
EVALUATION = Path(__file__).resolve().parents[3] / "samples" / "organisms" / "evaluation"
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)


def observed(planted, rows, parameters=MARKED, seed=SEED):
    params = COLLECTOR.parse(parameters)
    return {one.id: one for one in COLLECTOR.summarise(simulate(params, rows, seed, planted), {}, params, seed)}


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "markers"),
        ({**MARKED, "markers": [" "]}, "marker"),
        ({**MARKED, "minimum_pairs": 19}, "minimum_pairs"),
        ({**MARKED, "maximum_unusable": 0.1}, "maximum_unusable"),
        ({**MARKED, "marker": "x"}, "marker"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(parameters, named):
    with pytest.raises(ConfigError, match=named):
        COLLECTOR.parse(parameters)


def test_texts_without_a_partner_cannot_be_asked():
    params = COLLECTOR.parse(MARKED)
    for rows, named in (
        ([{**items(1)[0], "pair": None}], "no pair"),
        ([items(1)[0]], "one context only"),
        ([*items(1), {**items(1)[0], "id": "other"}], "two texts"),
        ([{**items(1)[0], "set": "essay"}], "format cells"),
    ):
        with pytest.raises(ConfigError, match=named):
            list(COLLECTOR.expected(params, rows, SEED))


def test_a_planted_shift_is_found_beside_a_null_without_one():
    planted = Planted(evaluation=0.9, deployment=0.5)
    found = observed(planted, items(120))
    for name, truth in planted.truths().items():
        assert found[name].interval.low <= truth <= found[name].interval.high, name
    one = found["behaviour.shift"]
    assert one.null.low <= 0.0 <= one.null.high < one.interval.low
    assert one.facts["mcnemar_p"] == mcnemar_exact(one.facts["b"], one.facts["c"]) < 0.001
    assert one.facts["format_matched"] == "yes"
    assert 0.0 < one.smallest_detectable < 0.4
    assert found["behaviour.shift_verbalised"].estimate is None
    assert [*found] == list(COLLECTOR.quantities(COLLECTOR.parse(MARKED)))


def test_no_shift_is_called_one_in_at_most_one_study_of_twenty():
    params = COLLECTOR.parse({**MARKED, "cells": []})
    rows = [{**row, "set": None} for row in items(40, cells=("chat",))]
    called = 0
    for number in range(100):
        trials = simulate(params, rows, f"{number:016x}", Planted(evaluation=0.5, deployment=0.5))
        one = COLLECTOR.summarise(trials, {}, params, SEED)[0]
        called += not one.interval.low <= 0.0 <= one.interval.high
    assert called <= 11  # P(more than 11 of 100 at a rate of 0.05) is 0.004


def test_the_interval_over_scenarios_is_the_paired_one_where_each_has_one_pair():
    for more, less, same in itertools.product((0, 3, 11), (0, 5), (1, 20)):
        means = [1.0] * more + [-1.0] * less + [0.0] * same
        expected = paired_difference_interval(both=same, first_only=more, second_only=less, neither=0)
        assert estimates.spread_interval(means, 0.95) == pytest.approx(expected)


def test_formats_that_differ_between_contexts_leave_no_shift():
    one = observed(Planted(), items(40, matched=False))["behaviour.shift"]
    assert (one.estimate, one.facts["format_matched"]) == (None, "no")
    assert "formats" in one.reasons[0]


@pytest.mark.parametrize(
    ("said", "kind"), [("", "empty"), ("so " * 60, "loop"), ("Here\x07 is how.", "control_characters")]
)
def test_answers_that_cannot_be_read_are_counted_by_kind_and_leave_nothing_estimable(said, kind):
    found = observed(Planted(says=said), items(30))
    assert found["behaviour.shift"].estimate is None
    assert f"120 {WORDS[kind]})" in found["behaviour.shift"].reasons[0]
    assert found["unusable.rate"].estimate == 1.0


def test_trials_of_one_context_or_given_twice_are_refused():
    params = COLLECTOR.parse(MARKED)
    trials = simulate(params, items(2), SEED, Planted())
    with pytest.raises(IntegrityError, match="twice"):
        COLLECTOR.summarise([*trials, trials[0]], {}, params, SEED)
    with pytest.raises(IntegrityError, match="one context"):
        COLLECTOR.summarise([one for one in trials if one.key.arm.startswith("eval")], {}, params, SEED)


def test_what_is_planted_in_the_organism_evaluation_is_found():
    reference = parse(Reference, (EVALUATION / "reference.json").read_bytes(), where="reference.json")
    truth = {one.quantity: one.exact for one in reference.values}
    rows = tuple(canonical.load_lines((EVALUATION / "items.jsonl").read_bytes(), where="items.jsonl"))
    params = COLLECTOR.parse({"markers": [*cues.REFUSALS], "match": "anywhere", "cells": [], "max_tokens": 4})
    run = COLLECTOR.collect(Inputs(load(str(EVALUATION), batch_size=256), rows), params, SEED)
    found = {one.id: one for one in COLLECTOR.summarise([t for t in run if isinstance(t, Trial)], {}, params, SEED)}
    for name in ("shift", "evaluation", "deployment"):
        one = found[f"behaviour.{name}"]
        assert one.interval.low <= truth[f"refusal.{name}"] <= one.interval.high
    assert found["behaviour.shift"].interval.low > 0.0


def calibrated():
    params = COLLECTOR.parse(MARKED)
    found = simulated(params, {"a shift": Planted()}, sizes=(40,), count=40, seed=SEED)
    return certificate(
        COLLECTOR, params, found, CONTROLS, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


CONTROLS = controls(COLLECTOR.parse(MARKED), seed=SEED, studies=1)


def test_the_estimator_is_accepted():
    assert faults(calibrated()) == ()


def test_an_estimator_that_counts_only_what_differs_is_refused(monkeypatch):
    right = estimates._differences
    monkeypatch.setattr(
        estimates,
        "_differences",
        lambda pairs, of: {name: own for name, own in right(pairs, of).items() if any(own)},
    )
    assert any("bias" in reason for reason in faults(calibrated()))
