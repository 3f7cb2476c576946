"""How well does an instrument read what is known? What the calibrations of all instruments share.

An instrument is tried where the truth is known: on organisms, read by code that imports no collector, and on simulated
trials, where the truth is a formula. Many studies are summarised as a subject's trials would be; each quantity at each truth
becomes a cell. Where there is nothing to find, the instrument must say so: those are the controls. `faults` says why a
certificate is not good enough. It speaks of the estimator, never of a subject.

Studies on an organism are drawn with replacement from the texts of one or more complete runs: the texts are then the
population, the truth is a mean over it, and studies are independent of each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from dossier.collector import Collector
from dossier.model import (
    Calibration,
    CalibrationCell,
    FileRef,
    NegativeControl,
    Observation,
    Trial,
    TrialKey,
    speaks_of,
)
from dossier.statistics import trial_seed

BIAS = 0.02  # in the unit of the quantity, or as a share of a truth beyond 1, over what chance leaves open
NOMINAL = 0.95  # a standard error at the nominal level does not vanish where every interval held
COVERAGE = 0.93  # of a 95 % interval, at least; there is no most: at an AUROC or a rate of 1 every interval holds it
ESTIMABLE = 0.95  # share of studies that must give a value
PASSING = 0.9  # share of a control's studies that must pass: a 95 % interval misses in one of twenty
LEAST_STUDIES = 20  # of a control by a test at 5 %, so that one in twenty by chance is no more than one in ten
MARGIN = 0.1  # the certificate reaches a tenth beyond the n that were studied
POWER = float(ndtri(0.975) + ndtri(0.8))  # standard errors that a two-sided test at 5 % finds with a power of 80 %

Found = Mapping[str, Observation]  # what an instrument said in one study, by observation id
Simulate = Callable[[str], Sequence[Trial]]  # the trials of a run, by its seed


@dataclass(frozen=True)
class Studies:
    """Many studies at one truth.

    Attributes:
        source: which organism and how it was made, or what was simulated.
        truths: true value by observation id; ``*.`` at the start stands for any group ("*.recall" at any attack).
        found: what the instrument said in each study.
        planted: what the training of an organism aimed at, by observation id, where that was a number of its own.
    """

    source: str
    truths: Mapping[str, float]
    found: Sequence[Found]
    planted: Mapping[str, float] = field(default_factory=dict)


def certificate(
    collector: Collector[Any],
    params: Any,
    studies: Iterable[Studies],
    controls: Iterable[NegativeControl],
    *,
    organisms: tuple[FileRef, ...],
    truth: str,
    bound: Iterable[str],
    limits: tuple[str, ...],
) -> Calibration:
    """Return the certificate.

    Args:
        collector: the instrument that was tried.
        params: the parameters it was tried with.
        studies: what it said where the truth is known.
        controls: what it said where there is nothing to find.
        organisms: the files of the organisms.
        truth: how the truths were got, in a sentence.
        bound: names of the parameters the certificate holds for; the others belong to the model that is read.
        limits: what it does not say.

    Raises:
        ValueError: a truth names no observation of any study of its own.
    """
    dumped = collector.dump(params)
    return Calibration(
        kind=collector.kind,
        protocol_version=collector.protocol_version,
        analysis_version=collector.analysis_version,
        organisms=organisms,
        truth=truth,
        parameters={name: dumped[name] for name in bound},
        cells=tuple(made for some in studies for made in cells(some)),
        negative_controls=tuple(controls),
        limits=limits,
    )


def cells(studies: Studies) -> Iterator[CalibrationCell]:
    """Yield a cell for each truth; raises ValueError where no study has an observation of that name."""
    for name, value in studies.truths.items():
        found = [one for study in studies.found for one in named(study, name)]
        if not found:
            raise ValueError(f"{studies.source}: no study has an observation {name}")
        yield cell(name, value, found, source=studies.source, planted=studies.planted.get(name))


def named(found: Found, name: str) -> list[Observation]:
    """Return the observations a cell's name speaks of: one, or with ``*.`` at the start those of any group."""
    return [one for identity, one in found.items() if speaks_of(name, identity)]


def cell(
    name: str, truth: float, found: Sequence[Observation], *, source: str, planted: float | None = None
) -> CalibrationCell:
    """Return how often and how well studies read one quantity at one truth.

    The smallest detectable effect is what a two-sided test at 5 % would find with a power of 80 % at this n, from the spread
    of the estimates over studies; None with fewer than two.
    """
    estimates = [one for one in found if one.estimate is not None]
    held = [one.interval.low <= truth <= one.interval.high for one in estimates if one.interval is not None]
    values = np.array([one.estimate for one in estimates], dtype=np.float64)
    sizes = [one.n for one in estimates] or [0]
    return CalibrationCell(
        quantity=name,
        source=source,
        planted=planted,
        truth=truth,
        studies=len(found),
        estimable=len(estimates),
        mean_bias=float(values.mean() - truth) if len(values) else 0.0,
        coverage=sum(held) / len(held) if held else 0.0,
        coverage_standard_error=math.sqrt(NOMINAL * (1.0 - NOMINAL) / len(held)) if held else 0.0,
        smallest_detectable=POWER * float(values.std(ddof=1)) if len(values) > 1 else None,
        n_counts=found[0].n_counts,
        mean_n=float(np.mean(sizes)),
        n_low=math.floor(min(sizes) * (1.0 - MARGIN) + 1e-9),
        n_high=math.ceil(max(sizes) * (1.0 + MARGIN) - 1e-9),
    )


def control(what: str, expected: str, passed: Sequence[bool]) -> NegativeControl:
    """Return a negative control from whether each of its studies said what it must."""
    return NegativeControl(what=what, expected=expected, studies=len(passed), passed=sum(passed))


@dataclass(frozen=True)
class Case:
    """A control on simulated runs: what is simulated, what the instrument must say of it, and whether it did."""

    what: str
    expected: str
    simulate: Simulate
    passes: Callable[[Found], bool]


def controlled(
    collector: Collector[Any], params: Any, cases: Iterable[Case], *, seed: str, studies: int
) -> tuple[NegativeControl, ...]:
    """Return the controls, each of so many simulated runs."""
    return tuple(
        control(
            case.what,
            case.expected,
            [
                case.passes(found)
                for found in read_runs(collector, params, case.simulate, what=case.what, count=studies, seed=seed)
            ],
        )
        for case in cases
    )


def faults(calibration: Calibration) -> tuple[str, ...]:
    """Return why a calibration is not good enough; nothing means that it is."""
    return (*_cell_faults(calibration.cells), *_control_faults(calibration.negative_controls))


def summary(collector: Collector[Any], trials: Sequence[Trial], params: Any, *, seed: str = "0" * 16) -> Found:
    """Return the observations of a study by id, as the collector gives them."""
    return {one.id: one for one in collector.summarise(trials, {}, params, seed)}


def read_runs(
    collector: Collector[Any], params: Any, simulate: Simulate, *, what: str, count: int, seed: str
) -> list[Found]:
    """Return what the instrument says of so many simulated runs."""
    return [summary(collector, simulate(own), params, seed=own) for own in seeds(seed, what, count)]


def seeds(seed: str, what: str, count: int) -> Iterator[str]:
    """Yield a seed for each of so many studies."""
    for number in range(count):
        yield trial_seed(seed, what, TrialKey(item="study", arm="calibration", repeat=number))


class Pool(Protocol):
    """What complete runs hold, item by item, from which studies are drawn."""

    @property
    def items(self) -> Sized:
        """The items."""

    def take(self, rows: Sequence[int]) -> Self:
        """Return a study of the items at these places; one may come more than once."""


PoolT = TypeVar("PoolT", bound=Pool)


def pooled(
    pool: PoolT,
    observe: Callable[[PoolT, str], Iterable[Observation]],
    truths: Mapping[str, float],
    *,
    source: str,
    planted: Mapping[str, float],
    sizes: Sequence[int],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of so many items, drawn with replacement from the runs of a pool, and read by ``observe(study, seed)``."""
    for size in sizes:
        found = []
        for own in seeds(seed, f"{source} {size}", count):
            rows = places(len(pool.items), size, np.random.PCG64(int(own, 16)))
            found.append({one.id: one for one in observe(pool.take(rows.tolist()), own)})
        yield Studies(source, truths, found, planted)


def draw(units: Mapping[str, Sequence[str]], size: int, *, seed: str) -> dict[str, Counter[str]]:
    """Return ``size`` names of each group, drawn with replacement: how often each came."""
    source = np.random.PCG64(int(seed, 16))
    return {
        group: Counter(names[int(place)] for place in places(len(names), size, source))
        for group, names in units.items()
    }


def places(count: int, size: int, source: np.random.PCG64) -> NDArray[np.int64]:
    """Return ``size`` places below ``count``, drawn with replacement.

    Place floor(w n / 2^32) for the upper half w of a raw PCG64 word, as in `dossier.statistics.bootstrap_weights`.
    """
    words = np.asarray(source.random_raw(size)) >> np.uint64(32)
    return ((words * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


def renamed(trial: Trial, suffix: str) -> Trial:
    """Return a trial as that of another text of the same content."""
    return trial.model_copy(update={"key": trial.key.model_copy(update={"item": f"{trial.key.item}.{suffix}"})})


def resampled(
    run: Iterable[Trial],
    drawn: Mapping[str, Counter[str]],
    *,
    unit: Callable[[Trial], str | None],
    rename: Callable[[Trial, str], Trial] = renamed,
) -> list[Trial]:
    """Return a run with its units as often as they were drawn.

    Args:
        run: a complete run.
        drawn: from `draw`.
        unit: the unit a trial belongs to, None for one that every study has.
        rename: makes a trial one of another unit; the suffix says which copy it is.
    """
    counts: Counter[str] = sum(drawn.values(), Counter())
    found = []
    for trial in run:
        name = unit(trial)
        if name is None:
            found.append(trial)
        else:
            found += [rename(trial, str(number)) for number in range(counts[name])]
    return found


def _cell_faults(found: Iterable[CalibrationCell]) -> Iterator[str]:
    for one in found:
        where = f"{one.quantity} at {one.truth:.3f}, n about {one.mean_n:.0f} ({one.source})"
        if one.estimable < ESTIMABLE * one.studies or not one.estimable:
            yield f"{where}: only {one.estimable} of {one.studies} studies were estimable"
            continue
        chance = 2.0 * (one.smallest_detectable or 0.0) / POWER / math.sqrt(one.estimable)
        if abs(one.mean_bias) > BIAS * max(1.0, abs(one.truth)) + chance:
            yield f"{where}: mean bias {one.mean_bias:+.4f}, more than {BIAS} of 1 or the truth and what chance leaves open"
        if one.coverage + 2.0 * one.coverage_standard_error < COVERAGE:
            yield f"{where}: coverage {one.coverage:.3f}, below {COVERAGE}"


def _control_faults(found: Iterable[NegativeControl]) -> Iterator[str]:
    for one in found:
        if one.passed < PASSING * one.studies or not one.studies:
            yield f"{one.what}: {one.passed} of {one.studies} studies gave: {one.expected}"
