"""Does the whole instrument read a known truth? Studies cut from runs whose truth is known, and controls without any.

`certificate` cuts runs into disjoint studies of so many pairs, lets the collector summarise each as it would a subject's
trials, and compares with truths that the caller got elsewhere: planted in a simulation, or read off an organism by code that
imports no collector. `accept` says why a certificate is not good enough. It speaks of the estimator, never of a subject.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from dossier.model import Calibration, CalibrationCell, FileRef, NegativeControl, Observation, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.interpretability.sae_features.parameters import KIND, SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.simulation import Planted, simulate
from evidence_collectors.interpretability.sae_features.trials import BY_ITEM

BIAS = 0.02  # share of the truth, and at least this much; beyond it an estimator leans
NOMINAL = 0.95  # a standard error at the nominal level does not vanish where every interval held
COVERAGE = 0.93  # of a 95 % interval, at least; there is no most: at an AUROC of 1 every interval holds it
ESTIMABLE = 0.95  # share of studies that must give a value
CONTROL_PAIRS = 30
PASSING = 0.9  # share of a control's studies that must pass: a 95 % interval may miss in one of twenty
MARGIN = 0.1  # the certificate reaches a tenth beyond the n that were studied


def certificate(
    runs: Iterable[Sequence[Trial]],
    truths: Mapping[str, float],
    *,
    params: SaeFeaturesParameters,
    organisms: tuple[FileRef, ...],
    truth: str,
    study_sizes: Sequence[int],
    seed: str,
    control_studies: int = 20,
) -> Calibration:
    """Return what the studies showed.

    Args:
        runs: complete runs, each with another root seed; each gives as many disjoint studies as fit.
        truths: true value by observation id.
        params: the parameters of the runs.
        organisms: the files of the organism.
        truth: how the truths were got, in a sentence.
        study_sizes: how many clusters of items of each split a study has; each size gives a cell of its own per quantity.
        seed: 16 hexadecimal digits; decides which clusters go together, and the permutations.
        control_studies: how many simulated studies each negative control has.

    Raises:
        ValueError: no study fits, or a truth names no observation.
    """
    unknown = set(truths) - set(COLLECTOR.quantities(params))
    if unknown:
        raise ValueError(f"no observations of these names: {sorted(unknown)}")
    studies: dict[int, list[dict[str, Observation]]] = {size: [] for size in study_sizes}
    for number, run in enumerate(runs):
        for size, found in studies.items():
            for study in cut(run, size, seed=seed, run=number):
                found.append({one.id: one for one in COLLECTOR.summarise(study, {}, params, seed)})
    for size, found in studies.items():
        if not found:
            raise ValueError(f"no run has {size} clusters of items in each split")
    return Calibration(
        kind=KIND,
        protocol_version=COLLECTOR.protocol_version,
        analysis_version=COLLECTOR.analysis_version,
        organisms=organisms,
        truth=truth,
        parameters=COLLECTOR.dump(params),
        cells=tuple(
            _cell(name, value, [study[name] for study in found])
            for found in studies.values()
            for name, value in truths.items()
        ),
        negative_controls=controls(params, seed=seed, studies=control_studies),
        limits=(
            "The estimator was checked on the organisms named here, never on a subject.",
            "Studies cut from one run share the chosen features: the choice itself is not repeated.",
            "Studies are drawn from the items of a run without replacement, so intervals cover a little more than for new "
            "items.",
        ),
    )


def cut(trials: Sequence[Trial], clusters: int, *, seed: str, run: int) -> Iterator[list[Trial]]:
    """Yield disjoint studies: so many clusters of items of each split, and all trials that belong to no item."""
    common = [trial for trial in trials if trial.key.arm not in BY_ITEM]
    by_split: dict[str, dict[str, list[Trial]]] = {"test": {}, "transfer": {}}
    for trial in trials:
        if trial.key.arm in BY_ITEM and trial.error is None:
            split, cluster = str(trial.measurements["split"]), str(trial.measurements["cluster"])
            by_split[split].setdefault(cluster, []).append(trial)
    orders = []
    for place, found in enumerate(by_split.values()):
        words = np.random.PCG64([int(seed, 16), run, place]).random_raw(max(len(found), 1))[: len(found)]
        names = sorted(found)
        orders.append([names[row] for row in np.argsort(words, kind="stable")])
    for start in range(0, min(map(len, orders)) - clusters + 1, clusters):
        chosen = [
            by_split[split][name]
            for split, order in zip(by_split, orders, strict=True)
            for name in order[start : start + clusters]
        ]
        yield [*common, *(trial for group in chosen for trial in group)]


def controls(params: SaeFeaturesParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls, on simulated runs: where there is nothing to find, nothing may be found."""
    reads = params.model_copy(update={"behaviour_tokens": params.behaviour_tokens or ("no",), "compare": True})
    nothing = Planted(separation=0.0, fall=0.0, changed=0.0)
    cases = (
        ("features without anything of the concept", "set.auroc_margin", nothing),
        ("features that any random ones equal", "set.auroc_margin", Planted(random_separation=2.0)),
        ("features that random weights equal", "set.auroc_margin", Planted(separation=1.0, twin_separation=2.0)),
        ("features that the behaviour does not depend on", "ablation.fall_margin", nothing),
        ("a behaviour that falls with any features", "ablation.fall_margin", Planted(random_fall=2.0)),
        ("a version that is the same model", "diff.changed", nothing),
    )
    return tuple(
        NegativeControl(
            what=what,
            expected=f"{quantity} not above 0" if quantity != "diff.changed" else "no feature found changed",
            studies=studies,
            passed=sum(_nothing(quantity, reads, planted, own) for own in _seeds(seed, what, studies)),
        )
        for what, quantity, planted in cases
    )


def accept(calibration: Calibration) -> tuple[str, ...]:
    """Return why the calibration is not good enough; nothing means that it is."""
    return tuple(_faults(calibration))


def _faults(calibration: Calibration) -> Iterator[str]:
    for cell in calibration.cells:
        where = f"{cell.quantity} at {cell.truth:.3f}"
        if cell.estimable < ESTIMABLE * cell.studies:
            yield f"{where}: only {cell.estimable} of {cell.studies} studies were estimable"
        if not cell.estimable:
            continue
        if abs(cell.mean_bias) > BIAS * max(abs(cell.truth), 1.0):
            yield f"{where}: mean bias {cell.mean_bias:+.4f}, more than {BIAS:.0%} of it"
        if cell.coverage + 2.0 * cell.coverage_standard_error < COVERAGE:
            yield f"{where}: coverage {cell.coverage:.3f}, below {COVERAGE}"
    for control in calibration.negative_controls:
        if control.passed < PASSING * control.studies:
            yield f"{control.what}: {control.passed} of {control.studies} studies gave {control.expected}"


def _cell(name: str, truth: float, found: Sequence[Observation]) -> CalibrationCell:
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
        coverage_standard_error=math.sqrt(NOMINAL * (1.0 - NOMINAL) / len(held)) if held else 0.0,
        n_counts=found[0].n_counts,
        mean_n=float(np.mean([one.n for one in found])),
        n_low=math.floor((1.0 - MARGIN) * min(one.n for one in found)),
        n_high=math.ceil((1.0 + MARGIN) * max(one.n for one in found)),
    )


def _seeds(seed: str, what: str, count: int) -> Iterator[str]:
    for number in range(count):
        yield trial_seed(seed, what, TrialKey(item="control", arm="control", repeat=number))


def _nothing(quantity: str, params: SaeFeaturesParameters, planted: Planted, seed: str) -> bool:
    trials = simulate(params, CONTROL_PAIRS, seed, planted)
    found = {one.id: one for one in COLLECTOR.summarise(trials, {}, params, seed)}[quantity]
    if quantity == "diff.changed":
        return found.estimate == 0.0
    return found.interval is not None and found.interval.low <= 0.0
