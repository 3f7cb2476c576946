"""How large is it, how sure is that, and what does the same pipeline read where there is nothing to find?

Items of one pair are a cluster: they share a template and an object. Means and ratios take the variance between clusters
(Liang and Zeger 1986, Biometrika 73:13) with Student's t at one degree less than there are clusters, after the skewness of the
clusters is removed (Hall 1992, J. Royal Statistical Society B 54:221): a few texts that a dictionary spoils most decide how
far an error may reach. AUROC and its interval are `dossier.ranking`'s, which treats items as independent.

The null margin of an AUROC is its distance from the strictest of three nulls: the 95th percentile of random feature sets of
like firing rate and strength, the 95th percentile under permuted labels, and the same pipeline on random weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from dossier import ranking
from dossier.comparison import benjamini_hochberg
from dossier.probing import permutation_orders
from dossier.statistics import Limits, bootstrap_weights, recovered_interval
from evidence_collectors.interpretability.quantities import unskewed

Floats = NDArray[np.float64]

STRICT = 0.95  # the percentile of a null that a quantity must beat
POWER = 0.8
RESAMPLES = 1000


@dataclass(frozen=True)
class Quantity:
    """An estimate with its limits, or reasons why there is none."""

    estimate: float | None
    limits: Limits | None = None
    reasons: tuple[str, ...] = ()
    smallest: float | None = None


@dataclass(frozen=True)
class NullReading:
    """A null's reading: its name, its 5th, 50th and 95th percentile, and limits of the last."""

    what: str
    low: float
    middle: float
    strict: float
    limits: Limits


@dataclass(frozen=True, eq=False)
class Changes:
    """A family of features, each tested for a change; p-values hold for the family, q-values for its false findings."""

    p_values: Floats
    q_values: Floats


def area(positive: Floats, negative: Floats, *, level: float) -> Quantity:
    """Return the AUROC of two groups that are not empty."""
    found, limits = ranking.auroc(positive, negative), ranking.auroc_interval(positive, negative, level=level)
    return Quantity(found, limits)


def mean(values: Floats, clusters: Sequence[str], *, level: float) -> Quantity:
    """Return the mean over items; needs two clusters."""
    return ratio(values, np.ones(len(values)), clusters, level=level)


def ratio(above: Floats, below: Floats, clusters: Sequence[str], *, level: float) -> Quantity:
    """Return sum(above) / sum(below) over items, linearised; needs two clusters and a sum that is not 0."""
    names, where = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    if names.size < 2:
        return Quantity(None, reasons=(f"only {names.size} clusters of items; two are needed for an interval",))
    whole = float(below.sum())
    estimate = float(above.sum()) / whole
    errors: Floats = np.asarray(np.bincount(where, weights=(above - estimate * below) / whole), dtype=np.float64)
    return Quantity(
        estimate, _over_clusters(estimate, errors, level), smallest=_smallest(_clustered_error(errors), level)
    )


def strict_margin(
    before: Floats, after: Floats, random: Floats, clusters: Sequence[str], *, level: float, seed: str
) -> Quantity:
    """Return how much further the log-odds fall with the chosen set (n,) than with the strictest of random sets (n, s).

    The strictest is the one that no more than 5 % of sets fall further than; where even that one does not fall, the margin is
    over no change at all, since a set that leaves the behaviour alone must not count for one that carries it. Which set that
    is, is itself an estimate: where several lie close and scatter unlike, the limits of the chosen one alone are too narrow.
    The limits are therefore the wider at each end of those by `mean` and of the percentiles of a bootstrap over clusters that
    ranks the sets anew. Needs two clusters.
    """
    falls = before[:, None] - random
    place = strict_place(falls.mean(axis=0))
    over = falls[:, place] if falls[:, place].mean() > 0.0 else np.zeros(len(before))
    chosen = mean(before - after - over, clusters, level=level)
    if chosen.limits is None:
        return chosen
    names, where = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((names.size, 1 + falls.shape[1]))
    np.add.at(sums, where, np.column_stack([before - after, falls]))
    weights = bootstrap_weights(seed, names.size, RESAMPLES)
    means = (weights @ sums) / (weights @ np.bincount(where).astype(np.float64))[:, None]
    drawn = means[:, 0] - np.maximum(np.sort(means[:, 1:], axis=1)[:, _strict_rank(falls.shape[1])], 0.0)
    low, high = (float(np.quantile(drawn, share)) for share in (0.5 - level / 2.0, 0.5 + level / 2.0))
    return replace(chosen, limits=(min(low, chosen.limits[0]), max(high, chosen.limits[1])))


def effect(
    positive: Floats, negative: Floats, clusters: tuple[Sequence[str], Sequence[str]], *, scale: float, level: float
) -> Quantity:
    """Return the difference of two groups' means in units of a ``scale`` from other items, with an interval over clusters.

    Clusters hold items of both groups. In deviations of these same items (Cohen's d, Hedges' g) a feature that parts the
    groups by 30 to 130 of them has an error that hangs on how its few outliers fall, which no interval knows: on the refusal
    organisms those of g held the truth in 48 to 100 % of 200 studies, these in 94 to 98 % of 3000. The limits are the wider at
    each end of Student's and of those without skewness, which alone held it in 93 % where a few items lie far out.
    """
    names, where = np.unique(np.asarray([*clusters[0], *clusters[1]], dtype=str), return_inverse=True)
    centres = float(positive.mean()), float(negative.mean())
    errors = np.concatenate(
        [(positive - centres[0]) / positive.size / scale, (centres[1] - negative) / negative.size / scale]
    )
    if names.size < 2 or not errors.any():
        return Quantity(None, reasons=("the values do not vary within either class, so their error is not known",))
    summed: Floats = np.asarray(np.bincount(where, weights=errors), dtype=np.float64)
    estimate, error = (centres[0] - centres[1]) / scale, _clustered_error(summed)
    half = float(stdtrit(names.size - 1, 0.5 + level / 2.0)) * error
    low, high = _over_clusters(estimate, summed, level)
    limits = min(low, estimate - half), max(high, estimate + half)
    return Quantity(estimate, limits, smallest=_smallest(error, level))


def minus(first: Quantity, second: Quantity) -> Quantity:
    """Return a difference of estimates taken as independent, which for readings of the same items is cautious."""
    if first.estimate is None or second.estimate is None or first.limits is None or second.limits is None:
        return Quantity(None, reasons=first.reasons or second.reasons)
    limits = recovered_interval(
        lambda one, other: one - other, [first.estimate, second.estimate], [first.limits, second.limits]
    )
    return Quantity(first.estimate - second.estimate, limits)


def random_sets(positive: Floats, negative: Floats, *, level: float) -> NullReading:
    """Return what random feature sets read: (item, set) each. Their signs were chosen where the features were."""
    areas = np.array([ranking.auroc(positive[:, one], negative[:, one]) for one in range(positive.shape[1])])
    worst = strict_place(areas)
    limits = ranking.auroc_interval(positive[:, worst], negative[:, worst], level=level)
    assert limits is not None
    return NullReading(
        f"{areas.size} random feature sets of like firing rate and strength",
        float(np.quantile(areas, 0.05)),
        float(np.quantile(areas, 0.5)),
        float(areas[worst]),
        limits,
    )


def random_recalls(positive: Floats, controls: Floats, *, fpr: float) -> NullReading:
    """Return the recall of random feature sets, (item, set) each, every one at the threshold its own controls freeze."""
    recalls = np.array([one.recall for one in ranking.recalls_at_fpr(positive, controls, fpr=fpr)])
    low, middle = (float(np.quantile(recalls, share)) for share in (0.05, 0.5))
    strict = float(recalls[strict_place(recalls)])
    what = f"{recalls.size} random feature sets of like firing rate and strength, each at a threshold frozen alike"
    return NullReading(what, low, middle, strict, (strict, strict))


def permuted(positive: Floats, negative: Floats, *, seed: str, permutations: int) -> NullReading:
    """Return what the same scores read under permuted labels."""
    ranks = ranking.twice_midranks(np.concatenate([positive, negative]))
    n, m = positive.size, negative.size
    sums = ranks[permutation_orders(seed, n + m, permutations)[:, :n]].sum(axis=1)
    areas = (sums - n * (n + 1)) / (2.0 * n * m)
    low, middle, high = (float(np.quantile(areas, share)) for share in (1.0 - STRICT, 0.5, STRICT))
    return NullReading(f"{permutations} permutations of the labels", low, middle, high, (high, high))


def margin(quantity: Quantity, null: NullReading) -> Quantity:
    """Return the distance of an estimate from a null's strict end."""
    return minus(quantity, Quantity(null.strict, null.limits))


def strict_place(values: Floats) -> int:
    """Return the place of the value at the strict percentile, counted so that no more than 5 % lie above it."""
    return int(np.argsort(values, kind="stable")[_strict_rank(values.size)])


def changes(differences: Floats, clusters: Sequence[str], *, seed: str, permutations: int) -> Changes:
    """Return which columns of paired differences (item, feature) are not symmetric about 0, by flipping clusters' signs.

    Where two versions behave alike, which of them a value came from is a coin's toss, and the test is exact. Differences
    with mean 0 that are not symmetric are a change too, and are found as one. The statistic is the sum over the root of the
    sum of squares, so that scales compete fairly. Max-T over the family for the p-values (Westfall and Young 1993),
    Benjamini and Hochberg on single p-values for the q-values.
    """
    names, where = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    summed = np.zeros((names.size, differences.shape[1]))
    np.add.at(summed, where, differences)
    size = np.sqrt((summed**2).sum(axis=0))
    standard = np.divide(summed, size, out=np.zeros_like(summed), where=size > 0.0)
    observed = np.abs(standard.sum(axis=0))
    words = np.random.PCG64(int(seed, 16)).random_raw(permutations * names.size).reshape(permutations, names.size)
    flips = 1.0 - 2.0 * (words >> np.uint64(63)).astype(np.float64)
    drawn = np.abs(flips @ standard)
    tie = 1e-9
    single = (1.0 + (drawn >= observed - tie).sum(axis=0)) / (1.0 + permutations)
    family = (1.0 + (drawn.max(axis=1)[:, None] >= observed - tie).sum(axis=0)) / (1.0 + permutations)
    still = size == 0.0
    return Changes(np.where(still, 1.0, family), benjamini_hochberg(np.where(still, 1.0, single)))


def quantiles(values: Floats, name: str) -> dict[str, float | int | str | None]:
    """Return five quantiles as facts, for a figure."""
    shares = (("q05", 0.05), ("q25", 0.25), ("q50", 0.5), ("q75", 0.75), ("q95", 0.95))
    return {f"{name}_{key}": float(np.quantile(values, share)) for key, share in shares} if values.size else {}


def _strict_rank(count: int) -> int:
    return min(math.ceil(STRICT * count), count) - 1


def _over_clusters(estimate: float, errors: Floats, level: float) -> Limits:
    """Return the limits of an estimate from the summed errors of each cluster."""
    return unskewed(estimate, _clustered_error(errors), errors, float(stdtrit(errors.size - 1, 0.5 + level / 2.0)))


def _clustered_error(errors: Floats) -> float:
    return math.sqrt(errors.size / (errors.size - 1) * float((errors**2).sum()))


def _smallest(error: float, level: float) -> float:
    return float(ndtri(0.5 + level / 2.0) + ndtri(POWER)) * error
