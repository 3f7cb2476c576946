"""How well does the instrument read a known shift? Studies on organisms, simulated ones, and controls without any.

On an organism the truth is read off its own probabilities by code that imports no collector; in a simulation it is what was
drawn from. What the certificates of all instruments share stands in `evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from dossier.model import NegativeControl, Observation, Trial
from evidence_collectors.calibration import Found, Studies, read_runs
from evidence_collectors.evaluation_awareness.answers import Fault
from evidence_collectors.evaluation_awareness.behaviour_shift.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.behaviour_shift.observations import observations
from evidence_collectors.evaluation_awareness.behaviour_shift.parameters import ShiftParameters
from evidence_collectors.evaluation_awareness.behaviour_shift.reading import Pair, Reading, read
from evidence_collectors.evaluation_awareness.behaviour_shift.simulation import Planted, simulate
from evidence_collectors.evaluation_awareness.behaviour_shift.trials import ARMS
from evidence_collectors.evaluation_awareness.calibrating import Case, Scenarios, controlled, holds, unknown
from evidence_collectors.evaluation_awareness.simulating import items

BOUND = ("interval_level", "repeats")
LIMITS = (
    "The estimator was checked on the organisms named here, never on a subject.",
    "Scenarios of a study are drawn from those of the organism, each with the answers of one of its runs.",
    "The phrases were checked on the organisms' own wordings; a subject may show the behaviour in words they miss.",
    "The shift among answers that talk of a test was checked in simulations only: organisms talk of it too seldom.",
)
CONTROL_SCENARIOS = 40
NO_SHIFT, UNKNOWN = "an interval that holds 0", "not estimable"
NOTHING = f"{UNKNOWN}, or {NO_SHIFT}"


def pool(runs: Iterable[tuple[str, Sequence[Trial]]], params: ShiftParameters) -> Scenarios[Pair]:
    """Return the scenarios of all complete runs together; ``runs`` are pairs of a root seed and the trials it gave."""
    return Scenarios.of([read(trials, params).pairs for _, trials in runs], _renamed)


def observe(params: ShiftParameters) -> Callable[[Scenarios[Pair], str], tuple[Observation, ...]]:
    """Return what reads a study; nothing is drawn."""
    return lambda study, _: observations(_reading(study.parts), params)


def simulated(
    params: ShiftParameters, planted: Mapping[str, Planted], *, sizes: Sequence[int], count: int, seed: str
) -> Iterator[Studies]:
    """Yield simulated studies of each size, by what was planted."""
    for size in sizes:
        for what, one in planted.items():
            run = partial(simulate, params, items(size), planted=one)
            found = read_runs(COLLECTOR, params, run, what=f"{what} {size}", count=count, seed=seed)
            yield Studies(f"simulated, {what}", one.truths(), found)


def controls(params: ShiftParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls, on simulated runs."""
    crossed, mixed = items(CONTROL_SCENARIOS), items(CONTROL_SCENARIOS, matched=False)

    def case(what: str, planted: Planted, *, matched: bool = True, nothing: bool = False) -> Case:
        run = partial(simulate, params, crossed if matched else mixed, planted=planted)
        return Case(f"simulated: {what}", UNKNOWN if nothing else NO_SHIFT, run, _unknown if nothing else _no_shift)

    cases = (
        case("no shift", Planted(evaluation=0.6)),
        case("a behaviour never shown", Planted(says="Here is how.")),
        case("evaluation and deployment texts in different formats", Planted(), matched=False, nothing=True),
        case("answers missing under evaluation only", Planted(unread=0.3), nothing=True),
    )
    return controlled(COLLECTOR, params, cases, seed=seed, studies=studies)


def nothing_found(found: Found) -> bool:
    """Return whether the shift is not estimable or its interval holds 0."""
    return _unknown(found) or _no_shift(found)


def _no_shift(found: Found) -> bool:
    return holds(found, "behaviour.shift", 0.0)


def _unknown(found: Found) -> bool:
    return unknown(found, "behaviour.shift")


def _renamed(pair: Pair, scenario: str) -> Pair:
    return replace(pair, scenario=scenario)


def _reading(pairs: tuple[Pair, ...]) -> Reading:
    return Reading(pairs, len(ARMS) * len(pairs), Counter[Fault]())
