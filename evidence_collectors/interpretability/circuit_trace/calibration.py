"""Does the instrument read the truth where it is known? The certificate, from studies on the one-block model.

On that model every score, the circuit, its faithfulness and the effect of each feature are sums of products of weights
(`evidence_collectors.organisms.circuit_block_truth`). A study is a number of prompts drawn from a run; its medians and their
intervals are compared with the medians over all prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dossier.model import Calibration, CalibrationCell, FileRef, NegativeControl, Observation, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR
from evidence_collectors.interpretability.circuit_trace.parameters import KIND, CircuitTraceParameters
from evidence_collectors.interpretability.circuit_trace.reading import SELF_TEST

BIAS = 0.01  # beyond what chance leaves open
NOMINAL = 0.95
COVERAGE = 0.92  # of a 95 % interval: percentiles of a median are a little narrow for small n
ESTIMABLE = 0.8  # share of studies that give a value; to refuse small effects is no wrong reading
MARGIN = 0.1  # the certificate reaches a tenth beyond the n that were studied
FREE = ("prompts", "traced", "labels", "reference", "reference_texts", "drawn_nodes", "resamples", "permutations")


def certificate(
    run: Sequence[Trial],
    truths: Mapping[str, float],
    *,
    exact: Sequence[Trial],
    unrelated: Sequence[Trial],
    params: CircuitTraceParameters,
    organisms: tuple[FileRef, ...],
    truth: str,
    study_sizes: Sequence[int],
    partitions: int,
    seed: str,
) -> Calibration:
    """Return what the studies showed.

    Args:
        run: a complete run on the organism.
        truths: true median over its prompts, by observation id.
        exact: a run with transcoders that lack nothing.
        unrelated: a run with transcoders that have nothing to do with the model.
        params: the parameters of the runs; those that only say which prompts are taken do not bind the certificate.
        organisms: the files of the organism.
        truth: how the truths were got, in a sentence.
        study_sizes: prompts of a study; each size gives a cell of its own per quantity.
        partitions: how often the run is cut into studies anew.
        seed: 16 hexadecimal digits; decides which prompts go together, and the resamples.

    Raises:
        ValueError: no study fits, or a truth names no observation.
    """
    unknown = set(truths) - set(COLLECTOR.quantities(params))
    if unknown:
        raise ValueError(f"no observations of these names: {sorted(unknown)}")
    cells: list[CalibrationCell] = []
    for size in study_sizes:
        found = [observed(study, params, seed) for study in _studies(run, size, partitions, seed)]
        if not found:
            raise ValueError(f"the run has no {size} prompts")
        apart = len(found) / partitions
        cells += [_cell(name, value, [study[name] for study in found], apart) for name, value in truths.items()]
    return Calibration(
        kind=KIND,
        protocol_version=COLLECTOR.protocol_version,
        analysis_version=COLLECTOR.analysis_version,
        organisms=organisms,
        truth=truth,
        parameters={name: value for name, value in COLLECTOR.dump(params).items() if name not in FREE},
        cells=tuple(cells),
        negative_controls=controls(exact, unrelated, params, size=min(study_sizes), partitions=partitions, seed=seed),
        limits=(
            "The estimator was checked on a model of one block without attention, never on a subject.",
            "Studies are drawn from the same prompts again and again, so that their errors are not independent.",
            "On it, nothing hangs on what a graph freezes but the final norm's scale.",
        ),
    )


def controls(
    exact: Sequence[Trial],
    unrelated: Sequence[Trial],
    params: CircuitTraceParameters,
    *,
    size: int,
    partitions: int,
    seed: str,
) -> tuple[NegativeControl, ...]:
    """Return the controls: nothing lost must read as nothing lost, and nothing to find as nothing found."""
    whole = [observed(study, params, seed) for study in _studies(exact, size, partitions, seed)]
    none = [observed(study, params, seed) for study in _studies(unrelated, size, partitions, seed)]
    return (
        NegativeControl(
            what="transcoders that lack nothing",
            expected="a replacement of 1 and no error, to 1e-6",
            studies=len(whole),
            passed=sum(_is(one["scores.replacement"], 1.0) and _is(one["scores.error_share"], 0.0) for one in whole),
        ),
        NegativeControl(
            what="transcoders that have nothing to do with the model",
            expected="a replacement margin whose interval does not lie above 0.05",
            studies=len(none),
            passed=sum(
                found.interval is not None and found.interval.low <= 0.05
                for found in (one["scores.replacement_margin"] for one in none)
            ),
        ),
    )


def accept(calibration: Calibration, *, prompts: int) -> tuple[str, ...]:
    """Return why the calibration is not good enough; nothing means that it is.

    ``prompts`` is how many the run had: the mean over studies that share them is no surer than that many allow.
    """
    return tuple(_faults(calibration, prompts))


def observed(trials: Sequence[Trial], params: CircuitTraceParameters, seed: str) -> dict[str, Observation]:
    """Return the observations of a study by id."""
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, seed)}


def _faults(calibration: Calibration, prompts: int) -> Iterator[str]:
    for cell in calibration.cells:
        where = f"{cell.quantity} at {cell.truth:.3f}, n about {cell.mean_n:.0f}"
        if cell.estimable < ESTIMABLE * cell.studies:
            yield f"{where}: only {cell.estimable} of {cell.studies} studies were estimable"
        elif abs(cell.mean_bias) > BIAS + 0.5 / math.sqrt(prompts):
            yield f"{where}: mean bias {cell.mean_bias:+.4f}, more than {BIAS} and what chance leaves open"
        elif cell.coverage + 2.0 * cell.coverage_standard_error < COVERAGE:
            yield f"{where}: coverage {cell.coverage:.3f}, below {COVERAGE}"
    for control in calibration.negative_controls:
        if control.passed < control.studies:
            yield f"{control.what}: {control.passed} of {control.studies} studies gave {control.expected}"


def _cell(name: str, truth: float, found: Sequence[Observation], apart: float) -> CalibrationCell:
    """Return a cell; ``apart`` is how many of the studies share no prompt, and all that the standard error counts."""
    estimates = [one for one in found if one.estimate is not None]
    held = [one.interval.low <= truth <= one.interval.high for one in estimates if one.interval is not None]
    errors = [one.estimate - truth for one in estimates if one.estimate is not None]
    return CalibrationCell(
        quantity=name,
        truth=truth,
        studies=len(found),
        estimable=len(estimates),
        mean_bias=float(np.mean(errors)) if errors else 0.0,
        coverage=sum(held) / len(held) if held else 0.0,
        coverage_standard_error=math.sqrt(NOMINAL * (1.0 - NOMINAL) / max(apart, 1.0)),
        n_counts=found[0].n_counts,
        mean_n=float(np.mean([one.n for one in found])),
        n_low=math.floor((1.0 - MARGIN) * min(one.n for one in found)),
        n_high=math.ceil((1.0 + MARGIN) * max(one.n for one in found)),
    )


def _studies(run: Sequence[Trial], size: int, partitions: int, seed: str) -> Iterator[list[Trial]]:
    """Yield disjoint studies of a run, its prompts in orders drawn from the seed; each has the run's self-test."""
    first = [trial for trial in run if trial.key.item == SELF_TEST]
    prompts = sorted((trial for trial in run if trial.key.item != SELF_TEST), key=lambda trial: trial.key.order)
    for number in range(partitions):
        own = trial_seed(seed, KIND, TrialKey(item="partition", arm=str(size), repeat=number))
        order = np.argsort(np.random.PCG64(int(own, 16)).random_raw(len(prompts)), kind="stable")
        for start in range(0, len(order) - size + 1, size):
            yield [*first, *(prompts[int(place)] for place in order[start : start + size])]


def _is(one: Observation, value: float) -> bool:
    return one.estimate is not None and abs(one.estimate - value) < 1e-6
