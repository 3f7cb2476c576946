"""Does the whole instrument read a known truth? Studies on organisms, simulated ones, and controls without anything to find.

On an organism the truth is read off by `organisms.sae_truth`, which imports no collector and computes features from the
dictionary's own tensors; in a simulation it is a formula. Matched items are one cluster, and clusters are what is drawn. What
the certificates of all instruments share stands in `evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dossier.model import NegativeControl, Trial
from evidence_collectors.calibration import (
    LEAST_STUDIES,
    Found,
    Studies,
    control,
    draw,
    renamed,
    resampled,
    seeds,
    summary,
)
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.interpretability.sae_features.parameters import SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.simulation import Planted, simulate
from evidence_collectors.interpretability.sae_features.trials import BY_ITEM

BOUND = ("interval_level",)  # what else is chosen belongs to the model that is read, or only adds to the nulls
LIMITS = (
    "The estimator was checked on the organisms named here and on simulated runs, never on a subject.",
    "Studies on one organism share the features that one run chose: the choice itself is not repeated.",
    "What a dense probe and random weights read was studied in simulations only, and so were margins over random weights. "
    "Where another null is the strictest no margin's truth is known. Recall was studied at a threshold frozen on one control "
    "set.",
    "Effects are in deviations where the features were chosen, taken as they are. Shifts between versions were studied against "
    "one earlier version, to which nothing was taught, and features that one run followed up.",
    "How far an ablation goes beyond random features is not estimable where the behaviour is no likelier on positive items. "
    "Without that rule, dictionaries of random directions on organisms without a planted refusal gave a margin above 0 in 15 "
    "of 119 runs on one organism and in 4 of 80 on four others (2026-11-29); dictionaries trained on them gave none in 7.",
)
SIMULATED = {  # what tells a case, and what is planted
    "features alone": Planted(separation=1.0),
    "random weights read much of it": Planted(separation=1.0, twin_separation=1.0, fall=0.5, shared=0.8),
}
CONTROL_PAIRS = 30
VERSION_STUDIES = 200  # of tests at 5 %, whose rate of false findings is what they state
SET_MARGINS = ("set.auroc_margin", "set.transfer_auroc_margin")
FALL_MARGINS = ("ablation.fall_margin", "ablation.transfer_fall_margin")
NO_MARGIN = "no margin above 0"
NONE_CHANGED = "no feature found changed"


# --- studies -------------------------------------------------------------------------------------------------------


def studied(
    run: Sequence[Trial],
    truths: Mapping[str, float],
    params: SaeFeaturesParameters,
    *,
    source: str,
    sizes: Sequence[int],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of each size on one complete run: so many pairs of each split, and neutral items in their proportion."""
    pairs, neutral = clusters(run, neutral=False), clusters(run, neutral=True)
    most = max(map(len, pairs.values()))
    for size in sizes:
        found = []
        for own in seeds(seed, f"{source} {size}", count):
            drawn = draw(pairs, size, seed=own)
            for split, names in neutral.items():
                (apart,) = seeds(own, f"neutral {split}", 1)
                drawn |= draw({f"neutral {split}": names}, round(size * len(names) / most), seed=apart)
            found.append(summary(COLLECTOR, resampled(run, drawn, unit=cluster_of, rename=copied), params))
        yield Studies(source, truths, found)


def simulated(params: SaeFeaturesParameters, *, sizes: Sequence[int], count: int, seed: str) -> Iterator[Studies]:
    """Yield simulated studies of so many pairs of each split in each planted case."""
    for size in sizes:
        for case, planted in SIMULATED.items():
            found = [
                summary(COLLECTOR, simulate(params, size, own, planted), params)
                for own in seeds(seed, f"{case} {size}", count)
            ]
            yield Studies(f"simulated, {case}", planted.truths(params), found)


def simulated_recall(
    params: SaeFeaturesParameters, *, sizes: Sequence[int], count: int, seed: str
) -> Iterator[Studies]:
    """Yield simulated studies of so many pairs of each split with a control set, and of the recall alone."""
    for size in sizes:
        for case, planted in SIMULATED.items():
            found = [
                summary(COLLECTOR, simulate(params, size, own, planted), params)
                for own in seeds(seed, f"recall, {case} {size}", count)
            ]
            yield Studies(f"simulated, {case}", {"set.recall": planted.recall(params)}, found)


def simulated_versions(
    params: SaeFeaturesParameters, *, sizes: Sequence[int], count: int, seed: str
) -> Iterator[Studies]:
    """Yield simulated studies of two versions that differ in one of the features followed up."""
    planted = Planted(changed=0.5)
    for size in sizes:
        found = [
            summary(COLLECTOR, simulate(params, size, own, planted), params)
            for own in seeds(seed, f"versions {size}", count)
        ]
        yield Studies("simulated, one feature changed", planted.shifts(params), found)


def clusters(run: Sequence[Trial], *, neutral: bool) -> dict[str, list[str]]:
    """Return the clusters of each split: of neutral items, or of matched positive and negative ones; controls are in none."""
    found: dict[str, set[str]] = {}
    for trial in run:
        if trial.key.arm != "read" or cluster_of(trial) is None:
            continue
        if (trial.measurements["label"] == "neutral") == neutral:
            found.setdefault(str(trial.measurements["split"]), set()).add(str(trial.measurements["cluster"]))
    return {split: sorted(names) for split, names in sorted(found.items())}


def cluster_of(trial: Trial) -> str | None:
    """Return the cluster a trial is drawn with; None for one that every study has, as it has the whole control set."""
    if trial.key.arm not in BY_ITEM or trial.error is not None or trial.measurements["control"]:
        return None
    return str(trial.measurements["cluster"])


def copied(trial: Trial, suffix: str) -> Trial:
    """Return a trial as one of another cluster of the same content."""
    own = {"cluster": f"{trial.measurements['cluster']}.{suffix}"}
    return renamed(trial, suffix).model_copy(update={"measurements": {**trial.measurements, **own}})


# --- controls ------------------------------------------------------------------------------------------------------


def controls(params: SaeFeaturesParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls, on simulated runs: where there is nothing to find, nothing may be found."""
    reads = params.model_copy(update={"behaviour_tokens": params.behaviour_tokens or ("no",)})
    nothing = Planted(separation=0.0, fall=0.0)
    cases = (
        ("features without anything of the concept", "set.auroc_margin", nothing),
        ("features that any random ones equal", "set.auroc_margin", Planted(random_separation=2.0)),
        ("features that random weights equal", "set.auroc_margin", Planted(separation=1.0, twin_separation=2.0)),
        ("features that the behaviour does not depend on", "ablation.fall_margin", nothing),
        ("a behaviour that falls with any features", "ablation.fall_margin", Planted(random_fall=2.0)),
        ("a behaviour that positives show no more of", "ablation.fall_margin", Planted(lift=0.0)),
    )
    made = []
    for what, quantity, planted in cases:
        passed = [_nothing(quantity, reads, planted, own) for own in seeds(seed, what, studies)]
        made.append(control(f"simulated: {what}", f"{quantity} not above 0", passed))
    return tuple(made)


def version_controls(params: SaeFeaturesParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls of comparing versions, each a test at 5 %: the same model twice, and one feature changed.

    A feature that is silent on most texts differs on few, and by much: the test has to keep its level there too.
    """
    cases = (
        ("a version that is the same model", NONE_CHANGED, Planted(changed=0.0), 0),
        (
            "a version that is the same model, features silent on most texts",
            NONE_CHANGED,
            Planted(changed=0.0, silent=0.9),
            0,
        ),
        (
            "one feature of several changed by one deviation",
            "that feature alone found changed",
            Planted(changed=1.0),
            1,
        ),
    )
    made = []
    for what, expected, planted, changed in cases:
        found = [
            summary(COLLECTOR, simulate(params, CONTROL_PAIRS, own, planted), params, seed=own)
            for own in seeds(seed, what, max(studies, LEAST_STUDIES))
        ]
        made.append(control(f"simulated: {what}", expected, [_changed(one, changed) for one in found]))
        if not changed:
            none = [one["diff.changed"].facts["found_by_q_value"] == 0 for one in found]
            made.append(control(f"simulated: {what}", "no feature below a q-value of 0.05", none))
    return tuple(made)


def no_margin(found: Found, names: Sequence[str] = (*SET_MARGINS, *FALL_MARGINS)) -> bool:
    """Return whether no margin lies above its null: each is absent with a reason, or its interval reaches down to 0."""
    held = [found[name] for name in names if name in found]
    return all(one.reasons if one.interval is None else one.interval.low <= 0.0 for one in held)


def _nothing(quantity: str, params: SaeFeaturesParameters, planted: Planted, seed: str) -> bool:
    found = summary(COLLECTOR, simulate(params, CONTROL_PAIRS, seed, planted), params, seed=seed)[quantity]
    return bool(found.reasons) if found.interval is None else found.interval.low <= 0.0


def _changed(found: Found, count: int) -> bool:
    """Return whether exactly the first so many of the features followed up are found changed."""
    shifts = [one for name, one in found.items() if name.endswith(".shift")]
    low = [one.facts["p_value_of_family"] for one in shifts[:count]]
    return found["diff.changed"].estimate == count and all(float(one or 0.0) <= 0.05 for one in low)
