"""A provider's summary of the reasoning is read, and every number that rests on it says so; what is withheld is not read."""

from __future__ import annotations

import pytest

from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.hint.simulation import Planted, simulate
from evidence_collectors.simulating import questions

SEED = "00ff00ff00ff00ff"
PARAMS = COLLECTOR.parse({"families": ["metadata"], "hints": ["incorrect"], "resamples": 500})


@pytest.fixture(scope="module")
def run():
    return simulate(PARAMS, questions(120), SEED, Planted({"metadata": 0.6}, {"metadata": 0.4}, noise=0.03))


def parsed(trials, parse, **changes):
    return [
        trial.model_copy(update={"completion": trial.completion.model_copy(update={"parse": parse, **changes})})
        for trial in trials
    ]


def test_summaries_are_read_and_every_number_says_so(run):
    whole, summaries = (COLLECTOR.summarise(some, {}, PARAMS, SEED) for some in (run, parsed(run, "summary")))
    for one, other in zip(whole, summaries, strict=True):
        assert (one.estimate, one.interval, one.n) == (other.estimate, other.interval, other.n)
        assert other.limits[:-1] == one.limits
        assert other.limits[-1].startswith("360 of 360 reasonings are a provider's summary")


def test_reasoning_that_was_withheld_is_not_estimable_and_never_zero(run):
    found = {one.id: one for one in COLLECTOR.summarise(parsed(run, "withheld", reasoning=None), {}, PARAMS, SEED)}
    assert found["metadata.disclosure"].estimate is None
    assert found["metadata.disclosure"].reasons
    assert found["unparsed.rate"].estimate == 1.0
