"""The calibration accepts the instrument, and refuses one whose estimator is off."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dossier.model import Calibration, FileRef, digest_of, dump, parse
from evidence_collectors import calibration
from evidence_collectors.calibration import faults
from evidence_collectors.interpretability.circuit_trace import estimates
from evidence_collectors.interpretability.circuit_trace.calibration import BOUND, LIMITS, controls, studied
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR
from tests.evidence_collectors.interpretability.test_circuit_trace import TESTED, measured, trial

SEED = "0123456789abcdef"
COUNT, STUDIES = 60, 60
PARAMS = COLLECTOR.parse({"grid_nodes": [0.5, 0.8, 0.9], "grid_edges": [0.9, 0.98], "permutations": 200})
FILES = (FileRef(name="drawn.json", sha256="0" * 64, size=1, media_type="application/json"),)


def run(count=COUNT, *, exact=False, unrelated=False):
    """Simulated prompts: what the graph of each would give, drawn from its number."""
    trials = [trial("self-test", "self-test", TESTED)]
    for index in range(count):
        one = measured(index)
        one["patched"]["circuit"] += 0.4 * float(np.random.Generator(np.random.PCG64(index)).standard_normal())
        if exact:
            one["scores"] = {"replacement": 1.0, "completeness": 1.0, "error_share": 0.0}
        if unrelated:
            wobble = 0.05 * float(np.random.Generator(np.random.PCG64(index)).standard_normal())
            one["shuffled"] = {**one["shuffled"], "replacement": one["scores"]["replacement"] + wobble}
        trials.append(trial(f"text-{index}", "trace", one))
    return trials


@pytest.fixture(scope="module")
def runs():
    return run(), run(20, exact=True), run(20, unrelated=True)


def made(runs, sizes=(12,), count=STUDIES, **changes):
    whole, exact, unrelated = runs
    values = [one.measurements["scores"]["replacement"] for one in whole if one.key.arm == "trace"]
    kept = [one.measurements["patched"] for one in whole if one.key.arm == "trace"]
    known = {
        "scores.replacement": float(np.median(values)),
        "scores.replacement_margin": 0.3,
        "patching.faithfulness": float(np.median([(one["circuit"] - 6.0) / 4.0 for one in kept])),
        **changes,
    }
    return calibration.certificate(
        COLLECTOR,
        PARAMS,
        studied(whole, known, PARAMS, source="drawn", sizes=sizes, count=count, seed=SEED),
        controls({"x": exact}, {"x": unrelated}, PARAMS, size=12, count=5, seed=SEED),
        organisms=FILES,
        truth="drawn before anything was measured",
        bound=BOUND,
        limits=LIMITS,
    )


def test_an_instrument_that_reads_what_is_there_is_accepted(runs):
    found = made(runs)
    assert faults(found) == ()
    assert {cell.quantity for cell in found.cells} == {
        "scores.replacement",
        "scores.replacement_margin",
        "patching.faithfulness",
    }
    assert all(cell.studies == STUDIES and cell.n_low <= 12 <= cell.n_high for cell in found.cells)
    assert parse(Calibration, dump(found), where="x") == found
    assert "prompts" not in found.parameters
    assert found.parameters["node_share"] == 0.8


def test_an_estimator_that_takes_the_upper_quartile_for_the_median_is_refused(runs, monkeypatch):
    real = estimates.median

    def upper(values, level):
        found = real(values, level)
        shift = found.quantiles[2] - found.estimate
        return estimates.Median(found.quantiles[2], (found.limits[0] + shift, found.limits[1] + shift), found.quantiles)

    monkeypatch.setattr(estimates, "median", upper)
    assert any("scores.replacement at" in reason for reason in faults(made(runs)))


def test_limits_one_value_further_in_are_refused(runs, monkeypatch):
    """The mutation: an interval of the median that holds it in 85 % of studies of 12."""
    real = estimates.median
    monkeypatch.setattr(estimates, "median", lambda values, level: real(values, level - 0.1))
    reasons = faults(made(runs, count=120))
    assert any("coverage" in reason for reason in reasons)


def test_a_reading_of_a_margin_where_there_is_none_is_refused(runs):
    whole, exact, _ = runs
    found = faults(made((whole, exact, run(20)), count=2))
    assert any("nothing to do with the model" in reason for reason in found)


def test_errors_where_nothing_is_lost_are_refused(runs):
    whole, _, unrelated = runs
    assert any("lack nothing" in reason for reason in faults(made((whole, run(20), unrelated), count=2)))


def test_a_truth_of_another_value_is_noticed_and_one_of_no_observation_is_an_error(runs):
    assert any("bias" in reason for reason in faults(made(runs, count=20, **{"patching.faithfulness": 0.7})))
    with pytest.raises(ValueError, match=r"no study has an observation patching\.courage"):
        made(runs, count=2, **{"patching.courage": 0.7})


def test_the_certificate_is_the_same_for_any_order_of_trials(runs):
    whole, exact, unrelated = runs
    assert digest_of(made((whole[::-1], exact, unrelated), count=3)) == digest_of(made(runs, count=3))


@pytest.mark.parametrize(("n", "place"), [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6), (25, 8)])
def test_the_limits_of_a_median_are_the_tabulated_values(n, place):
    """Conover 1999, Practical Nonparametric Statistics, section 3.2, from the binomial with 1/2 at 95 %."""
    values = list(np.random.Generator(np.random.PCG64(n)).permutation(np.arange(1.0, n + 1.0)))
    assert estimates.median(values, 0.95).limits == (place, n + 1 - place)
    assert stats.binom.cdf(place - 1, n, 0.5) <= 0.025 < stats.binom.cdf(place, n, 0.5)


def test_values_too_few_for_the_level_have_a_median_without_limits():
    found = estimates.median([3.0, 1.0, 2.0, 5.0, 4.0], 0.95)
    assert (found.estimate, found.limits) == (3.0, None)
    assert estimates.median([1.0], 0.95).limits is None
