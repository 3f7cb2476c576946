"""How well does the instrument read a known change? Studies on organisms, simulated ones, and controls without any.

On an organism the truth is read off by `organisms.direction_truth`, which changes weights instead of activations and imports
no collector; in a simulation it is planted. The same estimator reads every arm, so that a cell speaks of a quantity in any
arm. What the certificates of all instruments share stands in `evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile

import numpy as np
from pydantic import JsonValue

from dossier.language_model import WhiteBoxModel
from dossier.model import Item, NegativeControl, Trial
from evidence_collectors.calibration import (
    Case,
    Found,
    Studies,
    controlled,
    draw,
    places,
    read_runs,
    renamed,
    resampled,
    seeds,
    summary,
)
from evidence_collectors.interpretability.causal_intervention.collect import collected
from evidence_collectors.interpretability.causal_intervention.collector import COLLECTOR
from evidence_collectors.interpretability.causal_intervention.handle import Run
from evidence_collectors.interpretability.causal_intervention.parameters import InterventionParameters
from evidence_collectors.interpretability.causal_intervention.simulation import Planted, simulate
from evidence_collectors.interpretability.causal_intervention.trials import (
    HANDLE,
    LABELS,
    PLAIN,
    SELF_TEST,
    arms,
    capability_key,
    texts_of,
)

BOUND = ("random_directions", "match", "interval_level")  # what else is chosen belongs to the model that is changed
LIMITS = (
    "The estimator was checked on the organisms named here, never on a subject.",
    "Studies on one organism share the direction that was fitted once: how it varies between training sets was not checked.",
    "The phrases were checked on the organism's own wordings; a subject may show the behaviour in words they miss.",
    "A ratio to random directions is a description: it has no interval and no cell, and was checked only where there is "
    "nothing to find. It reads too low where they change some texts, the strictest of them partly by chance: where the true "
    "ratio is 10, about 5 with 20 texts and 7 with 100.",
    "What ablation costs neutral texts was studied with 40 texts or more, what pushes cost with 140 or more: where one or two "
    "of 40 texts lose most, a sample may hold none of them, and no interval knows of them. With 40 texts drawn from these "
    "organisms' under a push, the interval held the truth in 87 to 97 % of samples.",
)
CONTROL_TEXTS = 60
COST = ".capability"
SAME = 3.0  # a ratio below it is no finding beyond random directions
NO_CHANGE = "no change by ablation"


def studied(
    runs: Iterable[Sequence[Trial]],
    truths: Mapping[str, float],
    params: InterventionParameters,
    *,
    source: str,
    sizes: Sequence[int],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of each size for each arm: so many texts of each class, each as one of the runs answered it in all arms.

    Args:
        runs: runs on the same texts that differ in their seed, without control directions.
        truths: true value by observation id, over all texts of a run; what neutral texts lose is not among them.
        params: the parameters of the runs.
        source: which organism was read.
        sizes: texts of each class that a study has.
        count: studies of each size.
        seed: 16 hexadecimal digits; decides which texts are drawn.
    """
    units, shared = _pooled(runs)
    groups: dict[str, list[str]] = {label: [] for label in LABELS}
    for name, trials in units.items():
        (label,) = [str(one.measurements["label"]) for one in trials if one.key.arm == PLAIN]
        groups[label].append(name)

    def study(own: str, size: int) -> Found:
        drawn = draw(groups, size, seed=own)
        run = [*shared, *(trial for names in drawn.values() for name in names for trial in units[name])]
        trials = resampled(run, drawn, unit=lambda one: one.key.item if one.key.item in units else None)
        return summary(COLLECTOR, trials, params)

    for size in sizes:
        found = [study(own, size) for own in seeds(seed, f"{source} {size}", count)]
        yield from by_arm(Studies(source, truths, found))


def costed(
    run: Sequence[Trial],
    truths: Mapping[str, float],
    params: InterventionParameters,
    *,
    source: str,
    size: int,
    count: int,
    seed: str,
) -> Studies:
    """Return studies of what so many neutral texts of a run lose, the same texts in all arms; other ``truths`` are left out."""
    shared = [trial for trial in run if trial.key in (SELF_TEST, HANDLE)]
    lost = [trial for trial in run if trial.key in [capability_key(arm.name) for arm in arms(params)]]
    held = len(_column(lost[0], "plain"))
    found = []
    for own in seeds(seed, f"{source} neutral {size}", count):
        rows = places(held, size, np.random.PCG64(int(own, 16))).tolist()
        found.append(summary(COLLECTOR, [*shared, *(_rows(trial, rows) for trial in lost)], params))
    return Studies(source, {name: value for name, value in truths.items() if name.endswith(COST)}, found)


def simulated(
    params: InterventionParameters,
    planted: Mapping[str, Planted],
    *,
    sizes: Sequence[tuple[int, int]],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield simulated studies for each arm, by what was planted, each of so many texts of each class and neutral ones."""
    for size, neutral in sizes:
        for what, one in planted.items():
            run = partial(simulate, params, planted=one, texts=size, neutral=neutral)
            found = read_runs(COLLECTOR, params, run, what=f"{what} {size}", count=count, seed=seed)
            yield from by_arm(Studies(f"simulated, {what}", one.truths(params), found))


def by_arm(studies: Studies) -> Iterator[Studies]:
    """Yield the studies of each arm, its quantities named as those of any arm."""
    groups = dict.fromkeys(name.partition(".")[0] for name in studies.truths)
    for group in groups:
        start = f"{group}."
        yield Studies(
            f"{studies.source}, {group}",
            {
                f"*.{name.removeprefix(start)}": value
                for name, value in studies.truths.items()
                if name.startswith(start)
            },
            [{name: one for name, one in found.items() if name.startswith(start)} for found in studies.found],
        )


def controls(params: InterventionParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the simulated controls: no effect must not be found, and one that any push has is none of the direction."""
    strongest: dict[tuple[str, str], float] = {(arm.name, label): 0.5 for arm in arms(params) for label in LABELS}
    cases = (
        ("simulated: a direction that does nothing", "no change by any arm", Planted(), no_change),
        (
            "simulated: random directions that do as much",
            f"no ratio above {SAME:g}",
            Planted(changed=strongest, control=1.0),
            _no_ratio,
        ),
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


def no_change(found: Found, *, arm: str = "") -> bool:
    """Return whether after the correction for the number of arms no interval leaves 0, in one arm or, by default, in all."""
    changes = [one.interval for name, one in found.items() if name.startswith(arm) and ".change_" in name]
    return all(one is None or one.low <= 0.0 <= one.high for one in changes)


def uncontrolled(model: WhiteBoxModel, items: Sequence[Item], params: InterventionParameters, seed: str) -> list[Trial]:
    """Return a run up to its control directions, which studies leave out and which take most of its time."""
    run = Run(model, texts_of(items, params), {}, params, seed)
    return list(takewhile(lambda trial: not trial.key.arm.startswith("control."), collected(run)))


def _rows(trial: Trial, rows: Sequence[int]) -> Trial:
    """Return a trial about neutral texts as one about those at these places."""
    told: dict[str, JsonValue] = {name: [_column(trial, name)[row] for row in rows] for name in ("plain", "edited")}
    return trial.model_copy(update={"measurements": told})


def _column(trial: Trial, name: str) -> list[JsonValue]:
    values = trial.measurements[name]
    assert isinstance(values, list), "a list of nats"
    return values


def _no_ratio(found: Found) -> bool:
    ratios = [one.estimate for name, one in found.items() if ".ratio_" in name]
    return all(one is None or one < SAME for one in ratios)


def _pooled(runs: Iterable[Sequence[Trial]]) -> tuple[dict[str, list[Trial]], list[Trial]]:
    """Return the trials of each text of each run, by a name of its own, and what every study has: it hangs on no seed."""
    units: dict[str, list[Trial]] = {}
    shared: list[Trial] = []
    for number, run in enumerate(runs):
        asked = {trial.key.item for trial in run if trial.key.arm == PLAIN}
        for trial in run:
            if trial.key.item in asked:
                own = renamed(trial, f"run-{number}")
                units.setdefault(own.key.item, []).append(own)
            elif not number:
                shared.append(trial)
    return units, shared
