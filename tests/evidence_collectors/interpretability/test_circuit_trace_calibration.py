"""The calibration accepts the instrument, and refuses one whose estimator is off."""

from __future__ import annotations

import numpy as np
import pytest

from dossier.model import Calibration as CalibrationDocument
from dossier.model import FileRef, Trial, TrialKey, digest_of, dump, parse
from evidence_collectors.interpretability.circuit_trace import estimates
from evidence_collectors.interpretability.circuit_trace.calibration import accept, certificate
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR
from tests.evidence_collectors.interpretability.test_circuit_trace import TESTED, measured, trial

SEED = "0123456789abcdef"
COUNT = 200
PARAMETERS = {"grid_nodes": [0.5, 0.8, 0.9], "grid_edges": [0.9, 0.98], "resamples": 500, "permutations": 200}
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
    return run(), run(40, exact=True), run(40, unrelated=True)


def made(runs, sizes=(20,), **changes):
    whole, exact, unrelated = runs
    values = [one.measurements["scores"]["replacement"] for one in whole if one.key.arm == "trace"]
    kept = [one.measurements["patched"] for one in whole if one.key.arm == "trace"]
    known = {
        "scores.replacement": float(np.median(values)),
        "scores.replacement_margin": 0.3,
        "patching.faithfulness": float(np.median([(one["circuit"] - 6.0) / 4.0 for one in kept])),
        **changes,
    }
    return certificate(
        whole,
        known,
        exact=exact,
        unrelated=unrelated,
        params=COLLECTOR.parse(PARAMETERS),
        organisms=FILES,
        truth="drawn before anything was measured",
        study_sizes=sizes,
        partitions=2,
        seed=SEED,
    )


def test_an_instrument_that_reads_what_is_there_is_accepted(runs):
    calibration = made(runs)
    assert accept(calibration, prompts=COUNT) == ()
    assert {cell.quantity for cell in calibration.cells} == {
        "scores.replacement",
        "scores.replacement_margin",
        "patching.faithfulness",
    }
    assert all(cell.studies == 20 and cell.n_low <= 20 <= cell.n_high for cell in calibration.cells)
    assert parse(CalibrationDocument, dump(calibration), where="x") == calibration
    assert "prompts" not in calibration.parameters
    assert calibration.parameters["node_share"] == 0.8


def test_an_estimator_that_takes_the_upper_quartile_for_the_median_is_refused(runs, monkeypatch):
    real = estimates.median

    def upper(values, params, seed):
        found = real(values, params, seed)
        shift = found.quantiles[2] - found.estimate
        return estimates.Median(found.quantiles[2], (found.limits[0] + shift, found.limits[1] + shift), found.quantiles)

    monkeypatch.setattr(estimates, "median", upper)
    assert any("scores.replacement at" in reason for reason in accept(made(runs), prompts=COUNT))


def test_a_reading_of_a_margin_where_there_is_none_is_refused(runs):
    whole, exact, _ = runs
    found = accept(made((whole, exact, run(40))), prompts=COUNT)
    assert any("nothing to do with the model" in reason for reason in found)


def test_errors_where_nothing_is_lost_are_refused(runs):
    whole, _, unrelated = runs
    assert any("lack nothing" in reason for reason in accept(made((whole, run(40), unrelated)), prompts=COUNT))


def test_a_truth_of_another_value_is_noticed_and_one_of_no_observation_is_an_error(runs):
    assert any("bias" in reason for reason in accept(made(runs, **{"patching.faithfulness": 0.7}), prompts=COUNT))
    with pytest.raises(ValueError, match="no observations"):
        made(runs, **{"patching.courage": 0.7})
    with pytest.raises(ValueError, match="has no 500"):
        made(runs, sizes=(500,))


def test_the_certificate_is_the_same_for_any_order_of_trials(runs):
    whole, exact, unrelated = runs
    assert digest_of(made((whole[::-1], exact, unrelated))) == digest_of(made(runs))


def test_trials_stay_trials():
    assert all(isinstance(one, Trial) and isinstance(one.key, TrialKey) for one in run(2))
