"""Does the instrument read a known truth? Runs on organisms, simulated runs, and controls without anything to find.

`certificate` takes complete runs on organisms with true values got elsewhere and cuts the reported texts into disjoint
studies, each summarised as a subject's trials would be, with the direction and threshold the run froze. What is made of all
texts together (cosines, features) is calibrated on `simulated` runs, whose truth is a formula. `accept` says why a
certificate is not good enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from dossier.model import Calibration, CalibrationCell, FileRef, NegativeControl, Observation, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.interpretability.adversarial_stability.parameters import KIND, StabilityParameters, labels
from evidence_collectors.interpretability.adversarial_stability.simulation import Planted, simulate
from evidence_collectors.interpretability.adversarial_stability.trials import OWN, REPORTED, answer_arm, arms

Study = Mapping[str, Observation]

BIAS = 0.02  # beyond what chance leaves open; in the unit of the quantity
NOMINAL = 0.95
LEAST_COVERAGE = 0.93  # exact intervals of rates cover more than they say, so there is no upper limit
ESTIMABLE = 0.95
MARGIN = 0.1  # the certificate reaches a tenth beyond the n that were studied
_SCATTER = 0.3  # standard deviation of one text, roughly, in the unit of the quantity
SIMULATED = {  # the case an attack of its name is planted with
    "erased": Planted(kept=0.1, shown=0.1, scatter=0.2, sideways=0.5),
    "halved": Planted(kept=0.5, shown=0.6, shift=0.1),
    "kept": Planted(kept=0.95, shown=0.2),
}
ONLY_TOGETHER = ("shift_cosine", "refit_cosine")


def certificate(
    runs: Iterable[Sequence[Trial]],
    truths: Mapping[str, float],
    *,
    params: StabilityParameters,
    organisms: tuple[FileRef, ...],
    truth: str,
    study_sizes: Sequence[int],
    seed: str,
    simulated_studies: int = 200,
    control_studies: int = 20,
) -> Calibration:
    """Return what the studies showed.

    Args:
        runs: complete runs on organisms; each gives as many disjoint studies as fit.
        truths: true value by observation id, at the direction and threshold that every run freezes.
        params: the parameters of the runs.
        organisms: the files of the organisms.
        truth: how the truths were got, in a sentence.
        study_sizes: how many positive and as many negative texts a study has.
        seed: 16 hexadecimal digits; decides which texts go together, and all simulated draws.
        simulated_studies: simulated runs at each study size.
        control_studies: simulated runs of each negative control.

    Raises:
        ValueError: no study fits, or a truth names no observation of texts that can be cut into studies.
    """
    names = set(COLLECTOR.quantities(params))
    wrong = sorted(name for name in truths if name not in names or name.rpartition(".")[2] in ONLY_TOGETHER)
    if wrong:
        raise ValueError(f"no observations of studies have these names: {wrong}")
    studies: dict[int, list[Study]] = {size: [] for size in study_sizes}
    for number, run in enumerate(runs):
        for size, found in studies.items():
            found += [
                _summary(study, params) for study in cut(run, params, size, seed=f"{int(seed, 16) ^ number:016x}")
            ]
    if truths and not all(studies.values()):
        raise ValueError(f"no run has {max(study_sizes)} reported texts of each class")
    cells = [_cell(name, value, found) for found in studies.values() for name, value in truths.items()]
    for size in study_sizes:
        cells += simulated(params, size, seed=seed, studies=simulated_studies)
    return Calibration(
        kind=KIND,
        protocol_version=COLLECTOR.protocol_version,
        analysis_version=COLLECTOR.analysis_version,
        organisms=organisms,
        truth=f"{truth} Cells named simulated: planted in drawn activations and answers, true values by formula.",
        parameters=COLLECTOR.dump(params),
        cells=tuple(cells),
        negative_controls=controls(params, seed=seed, studies=control_studies),
        limits=(
            "The estimator was checked on the organisms named here and on simulated runs, never on a subject.",
            "The direction and the threshold are taken as frozen: how well they fit is another instrument's matter.",
            "Texts of a study were independent; texts of a subject that move together make its intervals too short.",
        ),
    )


def simulated(params: StabilityParameters, size: int, *, seed: str, studies: int) -> list[CalibrationCell]:
    """Return the cells of simulated runs with ``size`` reported texts of each class."""
    own = [one.name for one in labels(params) if one.kind == "attack"][:1]
    cells = []
    for case, planted in SIMULATED.items():
        reduced = params.model_copy(update=_reduced(params, own))
        found = [
            _summary(simulate(reduced, size, one, {own[0]: planted}), reduced)
            for one in _seeds(seed, f"{case} {size}", studies)
        ]
        for name, value in planted.truths(params).items():
            quantity = f"{own[0]}.{name}"
            if quantity in found[0]:
                cells.append(_cell(quantity, value, found, named=f"simulated.{case}.{name}"))
    return cells


def controls(params: StabilityParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls: an attack that changes nothing is not flagged, one that erases is, and noise is no signal."""
    own = [one.name for one in labels(params) if one.kind == "attack"][:1]
    reduced = params.model_copy(update=_reduced(params, own))
    size = max(60, params.minimum_items)
    cases = (
        (
            "an attack that changes nothing",
            "retention holds 1, no change of behaviour",
            Planted(1.0, 0.95, scatter=0.0),
        ),
        ("an attack that erases the signal", "retention holds 0 and ends below 0.5", Planted(0.0, 0.05)),
        (
            "an attack that only flips the behaviour",
            "flagged inside where it is lost",
            Planted(1.0, 0.05, scatter=0.05),
        ),
    )
    return tuple(
        NegativeControl(
            what=what,
            expected=expected,
            studies=studies,
            passed=sum(
                _as_expected(_summary(simulate(reduced, size, one, {own[0]: planted}), reduced), own[0], expected)
                for one in _seeds(seed, what, studies)
            ),
        )
        for what, expected, planted in cases
    )


def accept(calibration: Calibration) -> tuple[str, ...]:
    """Return why the calibration is not good enough; nothing means that it is."""
    return tuple(_faults(calibration))


def cut(run: Sequence[Trial], params: StabilityParameters, size: int, *, seed: str) -> Iterator[tuple[Trial, ...]]:
    """Yield disjoint studies of a run: ``size`` positive and as many negative reported texts, in an order of the seed."""
    reported: dict[bool, list[str]] = {True: [], False: []}
    for trial in sorted(run, key=lambda one: one.key.order):
        if trial.key.arm == arms(params)[0] and trial.measurements.get("split") in REPORTED:
            reported[bool(trial.measurements["positive"])].append(trial.key.item)
    everyone = {name for names in reported.values() for name in names}
    words = np.random.PCG64(int(seed, 16))
    orders = {
        side: [names[row] for row in np.argsort(words.random_raw(len(names)), kind="stable")] if names else []
        for side, names in reported.items()
    }
    for start in range(0, min(map(len, orders.values())) - size + 1, size):
        chosen = {name for order in orders.values() for name in order[start : start + size]}
        left_out = everyone - chosen
        yield tuple(trial for trial in run if trial.key.item in OWN or trial.key.item not in left_out)


def _faults(calibration: Calibration) -> Iterator[str]:
    for cell in calibration.cells:
        where = f"{cell.quantity} at {cell.truth:.3f}"
        if cell.estimable < ESTIMABLE * cell.studies:
            yield f"{where}: only {cell.estimable} of {cell.studies} studies were estimable"
        if not cell.estimable:
            continue
        spread = _SCATTER / math.sqrt(max(cell.mean_n, 1.0) * cell.estimable)
        if abs(cell.mean_bias) > BIAS + 2.0 * spread:
            yield f"{where}: mean bias {cell.mean_bias:+.4f}, more than {BIAS} and what chance leaves open"
        if cell.coverage + 2.0 * cell.coverage_standard_error < LEAST_COVERAGE:
            yield f"{where}: coverage {cell.coverage:.3f}, below {LEAST_COVERAGE}"
    for control in calibration.negative_controls:
        if control.passed < NOMINAL * control.studies:
            yield f"{control.what}: {control.passed} of {control.studies} studies gave: {control.expected}"


def _cell(name: str, truth: float, studies: Sequence[Study], *, named: str = "") -> CalibrationCell:
    found = [study[name] for study in studies]
    estimates = [one for one in found if one.estimate is not None]
    held = [one.interval.low <= truth <= one.interval.high for one in estimates if one.interval is not None]
    errors = [one.estimate - truth for one in estimates if one.estimate is not None]
    return CalibrationCell(
        quantity=named or name,
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


def _summary(trials: Sequence[Trial], params: StabilityParameters) -> Study:
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, "0" * 16)}


def _reduced(params: StabilityParameters, own: Sequence[str]) -> dict[str, object]:
    """Return the changes that leave one attack and one benign edit, which is all a simulated run needs."""
    benign = [one.name for one in labels(params) if one.kind == "benign"][:1]
    return {
        "attacks": tuple(name for name in params.attacks if name in (*own, *benign)),
        "extra_attacks": params.extra_attacks[:1] if own == ["own-1"] else (),
        "extra_benign": params.extra_benign[:1] if benign == ["own-benign-1"] else (),
        "searches": (),
        "twin": False,
        "use_core": False,
    }


def _as_expected(study: Study, attack: str, expected: str) -> bool:
    retention, change = study[f"{attack}.projection_retention"], study.get(f"{attack}.behaviour_change")
    if retention.interval is None:
        return False
    low, high = retention.interval.low, retention.interval.high
    if expected.startswith("retention holds 1"):
        unchanged = change is None or (
            change.interval is not None and change.interval.low <= 0.0 <= change.interval.high
        )
        return low <= 1.0 <= high and unchanged
    if expected.startswith("retention holds 0"):
        return low <= 0.0 <= high < 0.5
    flagged = study.get(f"{attack}.flagged_when_lost")
    return flagged is None or (flagged.interval is not None and flagged.interval.low > 0.5)


def _seeds(seed: str, what: str, count: int) -> Iterator[str]:
    for number in range(count):
        yield trial_seed(seed, what, TrialKey(item="simulated", arm=answer_arm("study"), repeat=number))
