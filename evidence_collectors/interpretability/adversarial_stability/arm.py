"""How is each quantity computed from the trials of one arm beside the clean one? Each gives an estimate or its reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dossier.ranking import auroc, auroc_interval, jaccard, rank_biased_overlap, recalls_at_fpr
from dossier.statistics import recovered_interval
from evidence_collectors.interpretability.adversarial_stability import estimates as estimates
from evidence_collectors.interpretability.adversarial_stability.estimates import Estimate, missing
from evidence_collectors.interpretability.adversarial_stability.parameters import StabilityParameters
from evidence_collectors.interpretability.adversarial_stability.reading import Arm, Reading

Array = NDArray[np.float64]

PERSISTENCE = 0.9  # of rank-biased overlap: the first ten ranks have two thirds of the weight
LEAST_RANDOM = 60  # with fewer, even the largest may by a chance of more than 0.05 lie below their 95th percentile
MOST_UNEXPLAINED = 1.0  # what a reconstruction that is always the mean leaves
AXIS = "projection on the direction; clean training texts lie at 0 without the concept and at 1 with it, on average"
KEPT = 0.5  # a node of a core survives with half of its clean activation


@dataclass(frozen=True)
class Seen:
    """One arm beside the clean one, and what a measure may look at."""

    name: str
    arm: Arm
    reading: Reading
    params: StabilityParameters

    @property
    def clean(self) -> Arm:
        """The arm without an attack."""
        return self.reading.clean

    def paired(self, arm: Arm) -> Array:
        """Return the projections of the reported positive texts in an arm, in one order."""
        return arm.projections(positive=True)


# --- inside --------------------------------------------------------------------------------------------------------


def retention(seen: Seen, level: float) -> Estimate:
    """Return the retention of the projection."""
    found = estimates.ratio_of_means(seen.paired(seen.arm), seen.paired(seen.clean), level)
    return replace(found, facts={"mean_attacked": float(seen.paired(seen.arm).mean())})


def gap_retention(seen: Seen, level: float) -> Estimate:
    """Return the retention of the classes' distance."""
    attacked, clean = (
        (arm.projections(positive=True), arm.projections(positive=False)) for arm in (seen.arm, seen.clean)
    )
    return estimates.ratio_of_gaps(attacked, clean, level)


def separation(seen: Seen, level: float) -> Estimate:
    """Return the AUROC under the attack."""
    sides = [seen.arm.projections(positive=side) for side in (True, False)]
    facts = {**estimates.quantiles(sides[0], "positive"), **estimates.quantiles(sides[1], "negative")}
    facts |= {"axis": AXIS, **estimates.quantiles(seen.arm.random_aurocs, "random_auroc")}
    return Estimate(auroc(*sides), auroc_interval(*sides, level=level), len(sides[0]) + len(sides[1]), facts=facts)


def separation_margin(seen: Seen, level: float) -> Estimate:
    """Return the AUROC less what random directions reach."""
    found, values = separation(seen, level), seen.arm.random_aurocs
    if found.value is None or found.limits is None:
        return found
    if len(values) < LEAST_RANDOM:
        return missing(
            found.n, f"{len(values)} random directions do not settle their 95th percentile; {LEAST_RANDOM} are needed"
        )
    null = strict_random(values)
    low, high = recovered_interval(
        lambda one, other: one - other, (found.value, null), [found.limits, seen.arm.random_limits(null, level)]
    )
    return Estimate(found.value - null, (low, high), found.n, facts={"null_q95": null, "auroc": found.value})


def strict_random(values: Array) -> float:
    """Return the value that a random direction exceeds with a probability of 0.05, from a sample of them.

    Order statistic k of n lies, on average, at the share k / (n + 1) of what it was drawn from (Weibull 1939).
    """
    return float(np.quantile(values, 0.95, method="weibull"))


def random_recalls(seen: Seen) -> Array:
    """Return the recall of each random direction at the threshold that its own clean validation negatives freeze.

    Empty where no threshold can be frozen.
    """
    held = [seen.clean.texts[name].random for name in seen.clean.items(positive=False, splits=("validation",))]
    shown = [seen.arm.texts[name].random for name in seen.arm.items(positive=True)]
    if not shown or len(held) < seen.params.minimum_items or not all(map(len, (*held, *shown))):
        return np.empty(0)
    found = recalls_at_fpr(np.array(shown), np.array(held), fpr=seen.params.target_fpr)
    return np.array([one.recall for one in found])


def twin_margin(seen: Seen, level: float) -> Estimate:
    """Return the clean AUROC less the AUROC of a direction fitted alike in random weights."""
    found, twin = separation(seen, level), seen.reading.twin
    limits = auroc_interval(twin.get("positive", ()), twin.get("negative", ()), level=level)
    if found.value is None or found.limits is None or limits is None:
        return missing(found.n, "the twin with random weights could not be read")
    values = (found.value, auroc(twin["positive"], twin["negative"]) or 0.0)
    low, high = recovered_interval(lambda one, other: one - other, values, [found.limits, limits])
    return Estimate(values[0] - values[1], (low, high), found.n, facts={"auroc": values[0], "twin_auroc": values[1]})


def _flagged(seen: Seen, level: float, *, positive: bool) -> Estimate:
    threshold, projections = seen.reading.threshold, seen.arm.projections(positive=positive)
    if threshold is None:
        return missing(len(projections), _no_threshold(seen))
    found = estimates.rate(int((projections > threshold).sum()), len(projections), level)
    before = seen.clean.projections(positive=positive)
    return replace(found, facts={"clean": float((before > threshold).mean()), "threshold": threshold})


def recall(seen: Seen, level: float) -> Estimate:
    """Return the recall at the frozen threshold."""
    return _flagged(seen, level, positive=True)


def false_positives(seen: Seen, level: float) -> Estimate:
    """Return the false positive rate at the frozen threshold."""
    return _flagged(seen, level, positive=False)


def _cosine(seen: Seen, level: float, *, measured: str, splits: tuple[str, ...]) -> Estimate:
    names = [name for side in (True, False) for name in seen.arm.items(positive=side, splits=splits)]
    without = [one for name in names if (one := seen.arm.texts[name].without) is not None]
    value = seen.arm.step.get(measured)
    if value is None or len(without) < 3:
        return missing(len(names), "under this attack the class means differ by no more than scatter")
    found = estimates.jackknifed_cosine(float(value), without, level)
    return replace(found, facts={"uncorrected": seen.arm.step.get(measured.replace("cosine", "uncorrected"))})


def shift_cosine(seen: Seen, level: float) -> Estimate:
    """Return the cosine of the class-mean shifts of the reported texts."""
    return _cosine(seen, level, measured="shift_cosine", splits=("test", "transfer"))


def refit_cosine(seen: Seen, level: float) -> Estimate:
    """Return the cosine of the direction fitted anew."""
    return _cosine(seen, level, measured="refit_cosine", splits=("train",))


def best_jaccard(seen: Seen, _: float) -> Estimate:
    """Return the Jaccard index of the best features."""
    return _overlap(seen, lambda left, right: jaccard(left, right))


def rank_overlap(seen: Seen, _: float) -> Estimate:
    """Return the rank-biased overlap of the best features."""
    return _overlap(seen, lambda left, right: rank_biased_overlap(left, right, p=PERSISTENCE))


def _overlap(seen: Seen, compare: Callable[[list[int], list[int]], float | None]) -> Estimate:
    unexplained = seen.clean.step.get("dictionary_fvu")
    if unexplained is not None and not float(unexplained) <= MOST_UNEXPLAINED:
        return missing(
            0,
            f"the dictionary leaves {float(unexplained):.2f} of the variance unexplained on clean texts, more than "
            f"{MOST_UNEXPLAINED:g}: it does not describe this model",
        )
    lists = [list(seen.clean.step.get(name, ())) for name in ("top", "top_first_half", "top_second_half")]
    value = compare(list(seen.arm.step.get("top", ())), lists[0])
    if value is None:
        return missing(0, "no feature tells the classes apart")
    facts = {"clean_halves": compare(lists[1], lists[2]), "features": seen.clean.step.get("features")}
    return Estimate(value, None, len(lists[0]), facts=facts)


def core_survival(seen: Seen, level: float) -> Estimate:
    """Return the share of the core that survives."""
    ratios = [float(one) for one in seen.arm.step.get("core", ())]
    if not ratios:
        return missing(0, "every node of the core is silent on clean texts")
    silent = int(seen.arm.step.get("core_nodes", len(ratios))) - len(ratios)
    found = estimates.rate(sum(one >= KEPT for one in ratios), len(ratios), level)
    return replace(found, facts={**found.facts, "silent_on_clean_texts": silent})


def log_odds(seen: Seen, level: float) -> Estimate:
    """Return the mean change of the behaviour's log-odds."""
    items = seen.clean.items(positive=True)
    sides = [np.array([arm.texts[name].log_odds for name in items]) for arm in (seen.arm, seen.clean)]
    found = estimates.mean_difference(sides[0], sides[1], level)
    return replace(found, facts={"clean": float(sides[1].mean()), "attacked": float(sides[0].mean())})


# --- outside -------------------------------------------------------------------------------------------------------


def behaviour(seen: Seen, level: float) -> Estimate:
    """Return the rate of the behaviour."""
    shown = list(seen.arm.answers.values())
    return replace(estimates.rate(sum(shown), len(shown), level), facts={"shown": sum(shown)})


def behaviour_change(seen: Seen, level: float) -> Estimate:
    """Return the change of that rate."""
    items = sorted(seen.clean.answers)
    sides = [[arm.answers[name] for name in items] for arm in (seen.arm, seen.clean)]
    return estimates.paired_change(sides[0], sides[1], level)


def attack_success(seen: Seen, level: float) -> Estimate:
    """Return the share of answers that lost the behaviour."""
    shown = [name for name, one in seen.clean.answers.items() if one]
    if len(shown) < seen.params.minimum_items:
        return missing(len(shown), f"only {len(shown)} clean answers show the behaviour: nothing to take away")
    return estimates.rate(sum(not seen.arm.answers[name] for name in shown), len(shown), level)


def flagged_when_lost(seen: Seen, level: float) -> Estimate:
    """Return the share of these that are still flagged inside."""
    lost = [name for name, one in seen.clean.answers.items() if one and not seen.arm.answers[name]]
    threshold = seen.reading.threshold
    if not lost or threshold is None:
        return missing(len(lost), _no_threshold(seen) if threshold is None else "no answer lost the behaviour")
    return estimates.rate(sum(seen.arm.texts[name].projection > threshold for name in lost), len(lost), level)


def _no_threshold(seen: Seen) -> str:
    return f"no threshold: fewer than {seen.params.minimum_items} clean negative validation texts"
