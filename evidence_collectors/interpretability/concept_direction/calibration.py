"""How well does the instrument read a known direction? Studies on organisms, simulated ones, and controls without any.

On an organism the truth is read off by `organisms.direction_truth`, which changes weights instead of activations and imports
no collector; in a simulation it is a formula. What the certificates of all instruments share stands in
`evidence_collectors.calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from scipy.special import ndtri

from dossier.model import NegativeControl, Trial
from evidence_collectors.calibration import (
    Case,
    Found,
    Studies,
    controlled,
    draw,
    read_runs,
    resampled,
    seeds,
    summary,
)
from evidence_collectors.interpretability.concept_direction.collector import COLLECTOR
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.simulation import LABELS, Planted, simulate
from evidence_collectors.interpretability.concept_direction.trials import REPORTED

BOUND = ("add_at", "interval_level")  # what else is chosen belongs to the model that is read, or only adds to the nulls
LIMITS = (
    "The estimator was checked on the organisms named here, never on a subject.",
    "Studies on one organism share the direction that one run chose; how it varies was seen between organisms only.",
    "Recall was studied at a threshold frozen on one control set; what else it would have been on other controls was not.",
    "The truth of a margin is over what 95 of 100 directions with nothing to find stay below at the study's own n.",
)
SHIFTS = (0.5, 1.5, 2.5)  # between the class means, in deviations: an AUROC of 0.64, 0.86 and 0.96
CONTROL_TEXTS = 40


def studied(
    run: Sequence[Trial],
    truths: Mapping[str, float],
    params: DirectionParameters,
    *,
    source: str,
    sizes: Sequence[int],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of each size on one complete run: so many texts of each class in each reported split.

    The control set is the same in all of them, and so is the threshold that it freezes.
    """
    groups: dict[str, list[str]] = {f"{split} {label}": [] for split in REPORTED for label in LABELS}
    for trial in run:
        group = f"{trial.measurements.get('split')} {trial.measurements.get('label')}"
        if trial.key.arm == "projection" and group in groups:
            groups[group].append(trial.key.item)
    reported = {name for names in groups.values() for name in names}
    for size in sizes:
        found = [
            summary(
                COLLECTOR,
                resampled(run, draw(groups, size, seed=own), unit=lambda one: _reported(one, reported)),
                params,
            )
            for own in seeds(seed, f"{source} {size}", count)
        ]
        yield Studies(source, truths, found)


def simulated(
    params: DirectionParameters, *, sizes: Sequence[int], shifts: Sequence[float] = SHIFTS, count: int, seed: str
) -> Iterator[Studies]:
    """Yield simulated studies of each size at each planted shift, with the margin's truth at that size."""
    for size in sizes:
        null = 0.5 + float(ndtri(0.95)) * math.sqrt((2 * size + 1) / (12 * size * size))  # Mann and Whitney, no ties
        for shift in shifts:
            planted = Planted(shift=shift)
            margins = {name.replace("_auroc", "_margin"): planted.auroc - null for name in planted.areas()}
            run = partial(simulate, params, planted=planted, texts=size)
            found = read_runs(COLLECTOR, params, run, what=f"shift {shift} {size}", count=count, seed=seed)
            truths = planted.truths() | planted.recalls(params) | margins
            yield Studies(f"simulated, classes {shift} deviations apart", truths, found)


def controls(params: DirectionParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the simulated controls: nothing to find must not be found, and what all directions show is no finding."""
    cases = (
        ("simulated: classes that do not differ", NO_MARGIN, Planted(shift=0.0), no_margin),
        ("simulated: classes that every direction tells apart", NO_MARGIN, Planted(3.0, null_shift=3.0), no_margin),
        (
            "simulated: a direction that does nothing",
            "no effect of ablating or adding it",
            Planted(effect=0.0),
            _no_effect,
        ),
        ("simulated: a model that no candidate moves", NOT_ESTIMABLE, Planted(induces=False), not_estimable),
    )
    return controlled(
        COLLECTOR,
        params,
        (
            Case(what, expected, partial(simulate, params, planted=planted, texts=CONTROL_TEXTS), says)
            for what, expected, planted, says in cases
        ),
        seed=seed,
        studies=studies,
    )


NO_MARGIN = "no margin above 0"
NOT_ESTIMABLE = "not estimable"


def no_margin(found: Found) -> bool:
    """Return whether neither reader lies above its nulls."""
    return all(
        one.interval is None or one.interval.low <= 0.0
        for one in (found["test.direction_margin"], found["test.probe_margin"])
    )


def not_estimable(found: Found) -> bool:
    """Return whether nothing is said about a direction, with a reason."""
    names = ("test.direction_auroc", "test.direction_margin", "test.bypass_drop", "test.induce_rise")
    return all(found[name].estimate is None and found[name].reasons for name in names)


def _no_effect(found: Found) -> bool:
    """Both intervals hold 0; each misses in one of twenty, so one of the two may."""
    effects = [found[name].interval for name in ("test.bypass_drop", "test.induce_rise")]
    return any(one is not None and one.low <= 0.0 <= one.high for one in effects)


def _reported(trial: Trial, reported: set[str]) -> str | None:
    return trial.key.item if trial.key.item in reported else None
