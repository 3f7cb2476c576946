"""Does the whole instrument read a known truth? Studies cut from runs whose truth is known, and controls without any.

`certificate` cuts the texts of runs into disjoint studies, lets the collector summarise each as it would a subject's trials,
and compares with truths that the caller got elsewhere: planted in a simulation, or read off an organism's own probabilities
by `organisms.direction_truth`, with the change made in the weights instead of in the activations. `accept` says why a
certificate is not good enough. It speaks of the estimator, never of a subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from dossier.language_model import WhiteBoxModel
from dossier.model import Calibration, FileRef, Item, NegativeControl, Observation, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.causal_intervention.collect import collected
from evidence_collectors.interpretability.causal_intervention.collector import COLLECTOR
from evidence_collectors.interpretability.causal_intervention.handle import Run
from evidence_collectors.interpretability.causal_intervention.parameters import KIND, InterventionParameters
from evidence_collectors.interpretability.causal_intervention.simulation import Planted, simulate
from evidence_collectors.interpretability.causal_intervention.trials import LABELS, PLAIN, arms, texts_of
from evidence_collectors.interpretability.studies import cell, control, disjoint, faults

BOUND = ("random_directions", "match", "interval_level")  # what else is chosen belongs to the model that is changed
CONTROL_TEXTS = 60
SAME = 3.0  # a ratio whose low end is below it is no finding beyond random directions
Found = Mapping[str, Observation]


def certificate(
    runs: Iterable[Sequence[Trial]],
    truths: Mapping[str, float],
    *,
    params: InterventionParameters,
    organisms: tuple[FileRef, ...],
    truth: str,
    study_sizes: Sequence[int],
    seed: str,
    control_studies: int = 20,
    null_runs: Mapping[str, Sequence[Sequence[Trial]]] | None = None,
) -> Calibration:
    """Return what the studies showed.

    Args:
        runs: complete runs; each gives as many disjoint studies of its texts as fit.
        truths: true value by observation id.
        params: the parameters of the runs; studies keep the controls of the whole run out, as they were asked on all texts.
        organisms: the files of the organism.
        truth: how the truths were got, in a sentence.
        study_sizes: texts of each class a study has; each size gives a cell of its own per quantity.
        seed: 16 hexadecimal digits; decides which texts go together.
        control_studies: how many simulated studies each negative control has.
        null_runs: complete runs on models with nothing to find, by what they are; ablation may change nothing there.

    Raises:
        ValueError: no study fits, or a truth names no observation.
    """
    unknown = set(truths) - set(COLLECTOR.quantities(params))
    if unknown:
        raise ValueError(f"no observations of these names: {sorted(unknown)}")
    studies: dict[int, list[Found]] = {size: [] for size in study_sizes}
    for number, run in enumerate(runs):
        for size, found in studies.items():
            own = trial_seed(seed, KIND, TrialKey(item="studies", arm=f"size-{size}", repeat=number))
            found += [summary(study, params) for study in cut(run, size, seed=own)]
    for size, found in studies.items():
        if not found:
            raise ValueError(f"no run has {size} texts of each class")
    dumped = COLLECTOR.dump(params)
    nulls = [
        control(what, "no change by ablation", [_no_change(summary(run, params)) for run in runs_])
        for what, runs_ in (null_runs or {}).items()
    ]
    return Calibration(
        kind=KIND,
        protocol_version=COLLECTOR.protocol_version,
        analysis_version=COLLECTOR.analysis_version,
        organisms=organisms,
        truth=truth,
        parameters={name: dumped[name] for name in BOUND},
        cells=tuple(
            cell(name, value, [study[name] for study in found])
            for found in studies.values()
            for name, value in truths.items()
        ),
        negative_controls=(*controls(params, seed=seed, studies=control_studies), *nulls),
        limits=(
            "The estimator was checked on the organisms named here, never on a subject.",
            "Studies share the direction that one run fitted: how it varies between training sets was not checked.",
            "The phrases were checked on the organism's own wordings; a subject may show the behaviour in words they miss.",
        ),
    )


def controls(params: InterventionParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the simulated controls: no effect must not be found, and one that any push has is none of the direction."""
    strongest: dict[tuple[str, str], float] = {(arm.name, label): 0.5 for arm in arms(params) for label in LABELS}
    cases = (
        ("a direction that does nothing", "no change by any arm", Planted(), _no_change),
        ("random directions that do as much", "no ratio above 3", Planted(changed=strongest, control=1.0), _no_ratio),
    )
    return tuple(
        control(
            what,
            expected,
            [
                says(summary(simulate(params, own, planted, texts=CONTROL_TEXTS), params))
                for own in (
                    trial_seed(seed, what, TrialKey(item="control", arm="study", repeat=number))
                    for number in range(studies)
                )
            ],
        )
        for what, expected, planted, says in cases
    )


def accept(calibration: Calibration) -> tuple[str, ...]:
    """Return why the calibration is not good enough; nothing means that it is."""
    return tuple(faults(calibration))


def summary(trials: Sequence[Trial], params: InterventionParameters) -> Found:
    """Return the observations of a study by id, as the collector gives them."""
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, "0" * 16)}


def uncontrolled(model: WhiteBoxModel, items: Sequence[Item], params: InterventionParameters, seed: str) -> list[Trial]:
    """Return a run up to its control directions, which studies leave out and which take most of its time."""
    run = Run(model, texts_of(items, params), {}, params, seed)
    return list(takewhile(lambda trial: not trial.key.arm.startswith("control."), collected(run)))


def cut(run: Sequence[Trial], size: int, *, seed: str) -> Iterator[list[Trial]]:
    """Yield a run with disjoint parts of its texts, ``size`` of each class, without its control directions.

    The neutral texts are shared out evenly among the studies.
    """
    groups: dict[str, list[str]] = {label: [] for label in LABELS}
    for trial in run:
        if trial.key.arm == PLAIN and trial.error is None:
            groups[str(trial.measurements["label"])].append(trial.key.item)
    parts = {label: list(disjoint(names, size, seed=seed)) for label, names in groups.items() if names}
    asked = {name for names in groups.values() for name in names}
    count = min(map(len, parts.values()), default=0)
    for number in range(count):
        kept = frozenset().union(*(part[number] for part in parts.values()))
        yield [
            _share(trial, number, count)
            for trial in run
            if (trial.key.item not in asked or trial.key.item in kept) and not trial.key.arm.startswith("control.")
        ]


def _share(trial: Trial, number: int, count: int) -> Trial:
    """Return a trial of neutral texts with the part that belongs to one study; any other as it is."""
    if not trial.key.arm.startswith("capability.") or trial.error is not None:
        return trial
    told = {name: values[number::count] for name, values in trial.measurements.items() if isinstance(values, list)}
    return trial.model_copy(update={"measurements": told})


def _no_change(found: Found) -> bool:
    """After the correction for the number of arms no interval may leave 0."""
    changes = [one.interval for name, one in found.items() if ".change_" in name]
    return all(one is None or one.low <= 0.0 <= one.high for one in changes)


def _no_ratio(found: Found) -> bool:
    ratios = [one.interval for name, one in found.items() if ".ratio_" in name]
    return all(one is None or one.low < SAME for one in ratios)
