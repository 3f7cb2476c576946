"""How are runs with a known truth cut into studies, and what do the studies say about an estimator?

What the calibrations of the instruments on directions share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from dossier.model import Calibration, CalibrationCell, NegativeControl, Observation
from dossier.probing import permutation_orders

BIAS = 0.02  # in the unit of the quantity, or as a share of a truth beyond 1
NOMINAL = 0.95  # a standard error at the nominal level does not vanish where every interval held
COVERAGE = 0.93  # of a 95 % interval, at least; there is no most: at an AUROC or a rate of 1 every interval holds it
ESTIMABLE = 0.95  # share of studies that must give a value
PASSING = 0.9  # share of a control's studies that must pass: a 95 % interval misses in one of twenty
MARGIN = 0.1  # the certificate reaches a tenth beyond the n that were studied


def disjoint(names: Sequence[str], size: int, *, seed: str) -> Iterator[frozenset[str]]:
    """Yield as many disjoint sets of ``size`` names as there are, in an order that the seed decides."""
    ordered = sorted(names)
    (order,) = permutation_orders(seed, len(ordered), 1) if ordered else (np.empty(0, dtype=np.int64),)
    for start in range(0, len(ordered) - size + 1, size):
        yield frozenset(ordered[place] for place in order[start : start + size])


def cell(name: str, truth: float, found: Sequence[Observation]) -> CalibrationCell:
    """Return how often and how well studies read one quantity at one truth."""
    estimates = [one for one in found if one.estimate is not None]
    held = [one.interval.low <= truth <= one.interval.high for one in estimates if one.interval is not None]
    errors = [one.estimate - truth for one in estimates if one.estimate is not None]
    sizes = [one.n for one in estimates] or [0]
    return CalibrationCell(
        quantity=name,
        truth=truth,
        studies=len(found),
        estimable=len(estimates),
        mean_bias=float(np.mean(errors)) if errors else 0.0,
        coverage=sum(held) / len(held) if held else 0.0,
        coverage_standard_error=math.sqrt(NOMINAL * (1.0 - NOMINAL) / len(held)) if held else 0.0,
        n_counts=found[0].n_counts if found else "nothing",
        mean_n=float(np.mean(sizes)),
        n_low=math.floor(min(sizes) * (1.0 - MARGIN)),
        n_high=math.ceil(max(sizes) * (1.0 + MARGIN)),
    )


def control(what: str, expected: str, passed: Sequence[bool]) -> NegativeControl:
    """Return a negative control from whether each of its studies said what it must."""
    return NegativeControl(what=what, expected=expected, studies=len(passed), passed=sum(passed))


def faults(calibration: Calibration) -> Iterator[str]:
    """Yield why a calibration is not good enough."""
    for one in calibration.cells:
        where = f"{one.quantity} at {one.truth:.3f}"
        if one.estimable < ESTIMABLE * one.studies or not one.estimable:
            yield f"{where}: only {one.estimable} of {one.studies} studies were estimable"
            continue
        if abs(one.mean_bias) > BIAS * max(1.0, abs(one.truth)):
            yield f"{where}: mean bias {one.mean_bias:+.4f}, more than {BIAS} of the truth or of 1"
        if one.coverage + 2.0 * one.coverage_standard_error < COVERAGE:
            yield f"{where}: coverage {one.coverage:.3f}, below {COVERAGE}"
    for control_ in calibration.negative_controls:
        if control_.passed < PASSING * control_.studies or not control_.studies:
            yield f"{control_.what}: {control_.passed} of {control_.studies} studies gave {control_.expected}"
