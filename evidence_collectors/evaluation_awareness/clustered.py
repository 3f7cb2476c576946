"""How sure is a rate, a mean, an AUROC or a difference of them, where texts come in clusters?

Every estimate here is carried with its influence: by how much each cluster moves it, to first order. Estimates that are
linear in others (means, differences) add up their influences, so that what is measured on the same texts is treated as such.
Over G clusters with influences psi_c,

    variance = G / (G - 1) * sum_c psi_c^2

and Student's t with G - 1 degrees of freedom stands for the normal: with few clusters their number, not that of the texts,
says how much was seen. For the AUROC this is the variance of Obuchowski 1997 (Biometrics 53:567).

Shapes: n texts, G clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, stdtrit

from dossier.ranking import MOST_PER_ITEM
from dossier.statistics import Limits, effective_size, wilson

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """An estimate, the influence of each cluster on it (G,), and how many independent trials it can be worth at most."""

    estimate: float
    influence: Array
    most: float

    @property
    def clusters(self) -> int:
        """G."""
        return self.influence.size

    @property
    def variance(self) -> float:
        """The variance of the estimate over draws of clusters."""
        return self.clusters / (self.clusters - 1.0) * math.fsum(self.influence**2)


def mean(values: Array, clusters: Places, count: int) -> Part:
    """Return the mean of n values; ``clusters`` (n,) holds places among ``count`` clusters. Needs a value."""
    centre = math.fsum(values) / values.size
    return Part(centre, _summed((values - centre) / values.size, clusters, count), float(values.size))


def auroc(scores: Array, positive: NDArray[np.bool_], clusters: Places, count: int) -> Part:
    """Return how often a positive outranks a negative; a tie counts half. Needs both."""
    above, below = scores[positive], scores[~positive]
    wins = _below(above, below) / below.size  # of each positive, the share of negatives below it
    losses = 1.0 - _below(below, above) / above.size  # of each negative, the share of positives above it
    area = float(wins.mean())
    influence = np.empty(scores.size)
    influence[positive] = (wins - area) / above.size
    influence[~positive] = (losses - area) / below.size
    return Part(area, _summed(influence, clusters, count), MOST_PER_ITEM * min(above.size, below.size))


def average(parts: Sequence[Part]) -> Part:
    """Return the unweighted mean of estimates over the same clusters; of the same texts, they are worth no more than one."""
    influence = np.mean([part.influence for part in parts], axis=0)
    return Part(sum(part.estimate for part in parts) / len(parts), influence, max(part.most for part in parts))


def less(first: Part, second: Part) -> Part:
    """Return the first estimate minus the second, over the same clusters."""
    influence = first.influence - second.influence
    return Part(first.estimate - second.estimate, influence, min(first.most, second.most))


def student(part: Part, level: float) -> Limits:
    """Return Student's interval; at a variance of 0 it has no width."""
    half = _t(part.clusters, level) * math.sqrt(part.variance)
    return part.estimate - half, part.estimate + half


def scaled(part: Part, level: float) -> Limits:
    """Return Student's interval for the mean of numbers within 0 and 1, widened to hold the one of `bounded`.

    A few texts that are far from the rest decide such a mean, and where none of them was drawn its variance is too small.
    """
    low, high = student(part, level)
    least, most = bounded(part, level)
    return min(low, least), max(high, most)


def bounded(part: Part, level: float) -> Limits:
    """Return an interval for an estimate within 0 and 1 that has no more variance than a proportion; never of width zero.

    Wilson's for as many independent trials as have the variance of the estimate, with Student's t. At 0 and 1, and where no
    cluster differs from another, each cluster is one trial.
    """
    centre = min(max(part.estimate, 0.0), 1.0)
    size = effective_size(centre, part.variance, most=part.most, at_edge=part.clusters)
    return wilson(centre, size, _normal_level(part.clusters, level))


def area(part: Part, level: float) -> Limits:
    """Return an interval for an AUROC: that of `bounded`, widened to hold the one on the logit scale.

    As `dossier.ranking.auroc_interval`, with the variance over clusters in place of that over texts.
    """
    low, high = bounded(part, level)
    if part.variance <= 0.0 or not 0.0 < part.estimate < 1.0:
        return low, high
    odds_low, odds_high = _on_logits(part, level)
    return min(low, odds_low), max(high, odds_high)


def widened(limits: Limits, *, estimate: float, worst: float, best: float) -> Limits:
    """Return an interval moved at each end by what unread texts could do to the estimate."""
    return limits[0] - max(estimate - worst, 0.0), limits[1] + max(best - estimate, 0.0)


def _on_logits(part: Part, level: float) -> Limits:
    half = _t(part.clusters, level) * math.sqrt(part.variance) / (part.estimate * (1.0 - part.estimate))
    middle = logit(part.estimate)
    return float(expit(middle - half)), float(expit(middle + half))


def _below(scores: Array, others: Array) -> Array:
    """Return, per score, how many others are below it, ties counting half."""
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(twice / 2.0)


def _summed(values: Array, clusters: Places, count: int) -> Array:
    return np.asarray(np.bincount(clusters, weights=values, minlength=count), dtype=np.float64)


def _t(clusters: int, level: float) -> float:
    return float(stdtrit(clusters - 1, 0.5 + level / 2.0))


def _normal_level(clusters: int, level: float) -> float:
    """Return the level at which a normal interval is as wide as Student's."""
    return float(2.0 * ndtr(_t(clusters, level)) - 1.0)
