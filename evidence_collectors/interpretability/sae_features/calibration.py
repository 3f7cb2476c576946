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
    "Where another null is the strictest no margin's truth is known; differences between versions have no cell. Recall was "
    "studied at a threshold frozen on one control set.",
    "Effects in deviations have no cell: their interval takes values for normal. On these organisms, where a feature parts the "
    "classes by up to 128 deviations, it held the truth in 42 to 100 % of 60 studies.",
    "How far an ablation goes beyond random features is not estimable where the behaviour is no likelier on positive items. "
    "Without that rule, dictionaries of random directions on organisms without a planted refusal gave a margin above 0 in 15 "
    "of 119 runs on one organism and in 4 of 80 on four others (2026-11-29); dictionaries trained on them gave none in 7.",
)
SIMULATED = {  # what tells a case, and what is planted
    "features alone": Planted(separation=1.0),
    "random weights read much of it": Planted(separation=1.0, twin_separation=1.0, fall=0.5, shared=0.8),
}
CONTROL_PAIRS = 30
SET_MARGINS = ("set.auroc_margin", "set.transfer_auroc_margin")
FALL_MARGINS = ("ablation.fall_margin", "ablation.transfer_fall_margin")
NO_MARGIN = "no margin above 0"


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
    reads = params.model_copy(update={"behaviour_tokens": params.behaviour_tokens or ("no",), "compare": True})
    nothing = Planted(separation=0.0, fall=0.0, changed=0.0)
    cases = (
        ("features without anything of the concept", "set.auroc_margin", nothing),
        ("features that any random ones equal", "set.auroc_margin", Planted(random_separation=2.0)),
        ("features that random weights equal", "set.auroc_margin", Planted(separation=1.0, twin_separation=2.0)),
        ("features that the behaviour does not depend on", "ablation.fall_margin", nothing),
        ("a behaviour that falls with any features", "ablation.fall_margin", Planted(random_fall=2.0)),
        ("a behaviour that positives show no more of", "ablation.fall_margin", Planted(lift=0.0)),
        ("a version that is the same model", "diff.changed", nothing),
    )
    made = []
    for what, quantity, planted in cases:
        tested = quantity == "diff.changed"  # at 5 %
        own = seeds(seed, what, max(studies, LEAST_STUDIES) if tested else studies)
        expected = "no feature found changed" if tested else f"{quantity} not above 0"
        passed = [_nothing(quantity, reads, planted, one) for one in own]
        made.append(control(f"simulated: {what}", expected, passed))
    return tuple(made)


def no_margin(found: Found, names: Sequence[str] = (*SET_MARGINS, *FALL_MARGINS)) -> bool:
    """Return whether no margin lies above its null: each is absent with a reason, or its interval reaches down to 0."""
    held = [found[name] for name in names if name in found]
    return all(one.reasons if one.interval is None else one.interval.low <= 0.0 for one in held)


def _nothing(quantity: str, params: SaeFeaturesParameters, planted: Planted, seed: str) -> bool:
    found = summary(COLLECTOR, simulate(params, CONTROL_PAIRS, seed, planted), params, seed=seed)[quantity]
    if quantity == "diff.changed":
        return found.estimate == 0.0
    return bool(found.reasons) if found.interval is None else found.interval.low <= 0.0
