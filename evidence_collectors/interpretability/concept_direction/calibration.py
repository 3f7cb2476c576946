"""Does the whole instrument read a known truth? Studies cut from runs whose truth is known, and controls without any.

`certificate` cuts the reported texts of runs into disjoint studies, lets the collector summarise each as it would a
subject's trials, and compares with truths that the caller got elsewhere: planted in a simulation, or read off an organism
by `organisms.direction_truth`, which imports no collector. `accept` says why a certificate is not good enough. It speaks of the
estimator, never of a subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dossier.model import Calibration, FileRef, NegativeControl, Observation, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.concept_direction.collector import COLLECTOR
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.simulation import LABELS, Planted, simulate
from evidence_collectors.interpretability.concept_direction.trials import KIND, REPORTED
from evidence_collectors.interpretability.studies import cell, control, disjoint, faults

BOUND = (  # parameters the certificate holds for; layers, positions and tokens belong to the model that is read
    "add_at",
    "kl_max",
    "random_directions",
    "shuffles",
    "twins",
    "random_interventions",
    "interval_level",
)
CONTROL_TEXTS = 40
Found = Mapping[str, Observation]


def certificate(
    runs: Iterable[Sequence[Trial]],
    truths: Mapping[str, float],
    *,
    params: DirectionParameters,
    organisms: tuple[FileRef, ...],
    truth: str,
    study_sizes: Sequence[int],
    seed: str,
    control_studies: int = 20,
    null_runs: Mapping[str, Sequence[Sequence[Trial]]] | None = None,
) -> Calibration:
    """Return what the studies showed.

    Args:
        runs: complete runs; each gives as many disjoint studies of its reported texts as fit.
        truths: true value by observation id.
        params: the parameters of the runs.
        organisms: the files of the organism.
        truth: how the truths were got, in a sentence.
        study_sizes: texts of each class a study has in each split; each size gives a cell of its own per quantity.
        seed: 16 hexadecimal digits; decides which texts go together.
        control_studies: how many simulated studies each negative control has.
        null_runs: complete runs on models with nothing to find, by what they are; none may show a margin above 0.

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
        control(what, "no margin above 0", [_no_margin(summary(run, params)) for run in runs_])
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
            "Studies share the direction that one run chose: how it varies between training sets was not checked.",
            "Texts of an organism are few and alike: on others the interval may hold less often.",
        ),
    )


def controls(params: DirectionParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the simulated controls: nothing to find must not be found, and what all directions show is no finding."""
    cases = (
        ("classes that do not differ", "no margin above 0", Planted(shift=0.0), _no_margin),
        ("classes that every direction tells apart", "no margin above 0", Planted(3.0, null_shift=3.0), _no_margin),
        ("a direction that does nothing", "no effect of ablating or adding it", Planted(effect=0.0), _no_effect),
        ("a model that no candidate moves", "not estimable", Planted(induces=False), _not_estimable),
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


def summary(trials: Sequence[Trial], params: DirectionParameters) -> Found:
    """Return the observations of a study by id, as the collector gives them."""
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, "0" * 16)}


def cut(run: Sequence[Trial], size: int, *, seed: str) -> Iterator[list[Trial]]:
    """Yield a run with disjoint parts of its reported texts, ``size`` of each class in each split."""
    groups: dict[tuple[str, str], list[str]] = {(split, label): [] for split in REPORTED for label in LABELS}
    for trial in run:
        told = trial.measurements
        group = (str(told.get("split")), str(told.get("label")))
        if trial.key.arm == "projection" and group in groups:
            groups[group].append(trial.key.item)
    parts = {group: list(disjoint(names, size, seed=seed)) for group, names in groups.items() if names}
    reported = {name for names in groups.values() for name in names}
    for number in range(min(map(len, parts.values()), default=0)):
        kept = frozenset().union(*(part[number] for part in parts.values()))
        yield [trial for trial in run if trial.key.item not in reported or trial.key.item in kept]


def _no_margin(found: Found) -> bool:
    return all(
        one.interval is None or one.interval.low <= 0.0
        for one in (found["test.direction_margin"], found["test.probe_margin"])
    )


def _no_effect(found: Found) -> bool:
    """Both intervals hold 0; each misses in one of twenty, so one of the two may."""
    effects = [found[name].interval for name in ("test.bypass_drop", "test.induce_rise")]
    return any(one is not None and one.low <= 0.0 <= one.high for one in effects)


def _not_estimable(found: Found) -> bool:
    names = ("test.direction_auroc", "test.direction_margin", "test.bypass_drop", "test.induce_rise")
    return all(found[name].estimate is None and found[name].reasons for name in names)
