"""How well does the probe tell contexts apart, how far beyond the text itself, and by how much does a push move behaviour?

With A the AUROC of a reader on texts it was not fitted on,

    margin = A(probe) - max(A(length), A(words), 1/2)

Matched texts (a pair, in both contexts and all formats) are one cluster; see `evaluation_awareness.clustered`. The limits of a
difference of two AUROCs are recovered from those of each with the correlation of their influences (Zou and Donner 2008,
Statistics in Medicine 27:1693), so that they never have width zero. The margin's low end is the lowest of those to each
baseline, its high end that to the best one: where two baselines are alike, the margin errs low.

With D_i the mean over cluster i's texts of one context of (shown under the push) - (shown unchanged),

    shift = mean D_i

with the interval and the exact test of `evaluation_awareness.behaviour_shift`, Holm over all pushes along the probe and both
contexts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dossier.comparison import mcnemar_exact, minimum_detectable_paired_difference
from dossier.statistics import Limits, recovered_interval
from evidence_collectors.evaluation_awareness import clustered
from evidence_collectors.evaluation_awareness.behaviour_shift.estimates import LEAST_DISCORDANT, spread_interval
from evidence_collectors.evaluation_awareness.clustered import Part
from evidence_collectors.evaluation_awareness.probe.reading import Array, Rows
from evidence_collectors.evaluation_awareness.probe.trials import READERS
from evidence_collectors.interpretability.quantities import Value, minus

Mask = NDArray[np.bool_]
CHANCE = 0.5
BASELINES = tuple(reader for reader in READERS if reader != "probe")


@dataclass(frozen=True, eq=False)
class Areas:
    """AUROCs on the same texts: of each reader, of every permuted fit and of every twin."""

    readers: Mapping[str, Part]
    shuffled: tuple[Part, ...]
    twins: tuple[Part, ...]

    @property
    def permuted(self) -> Array:
        """The AUROC of every permuted fit, (k,)."""
        return np.array([part.estimate for part in self.shuffled])

    @property
    def best_of_text(self) -> float:
        """The largest AUROC of the readers of the text alone, or chance."""
        return max(CHANCE, *(self.readers[name].estimate for name in BASELINES))

    @property
    def best_twin(self) -> Part | None:
        """The twin that tells the texts apart best, None where none could be read."""
        return max(self.twins, key=lambda part: part.estimate, default=None)


def areas(scored: Rows, twins: Rows, fit: str, rows: Mask) -> Areas:
    """Return the AUROCs on some texts. Needs both contexts; twins are left out where they could not be read."""
    pairs = [scored.pair[row] for row in np.flatnonzero(rows)]
    names, places = np.unique(pairs, return_inverse=True)
    positive = scored.evaluation[rows]

    def part(values: Array) -> Part:
        return clustered.auroc(values, positive, places.astype(np.int64), len(names))

    shuffled = scored.scores[f"{fit}.shuffled"][rows]
    random = np.empty((len(pairs), 0)) if twins.why else twins.scores[fit][rows]
    return Areas(
        readers={reader: part(scored.scores[f"{fit}.{reader}"][rows]) for reader in READERS},
        shuffled=tuple(part(column) for column in shuffled.T),
        twins=tuple(part(column) for column in random.T),
    )


def area_value(part: Part, level: float) -> Value:
    """Return an AUROC with its interval."""
    return Value(part.estimate, clustered.area(part, level))


def margin(found: Areas, level: float) -> Value:
    """Return how far the probe lies above the best that the text alone gives, or chance."""
    probe = found.readers["probe"]
    low, high = clustered.area(probe, level)
    ends = {CHANCE: (low - CHANCE, high - CHANCE)}
    for name in BASELINES:
        ends[found.readers[name].estimate] = _difference(probe, found.readers[name], level)
    best = found.best_of_text
    return Value(probe.estimate - best, (min(end[0] for end in ends.values()), ends[best][1]))


def _difference(first: Part, second: Part, level: float) -> Limits:
    spread = math.sqrt(math.fsum(first.influence**2) * math.fsum(second.influence**2))
    alike = float(first.influence @ second.influence) / spread if spread > 0.0 else 0.0
    matrix = np.array([[1.0, alike], [alike, 1.0]])
    return recovered_interval(
        lambda a, b: a - b,
        [first.estimate, second.estimate],
        [clustered.area(first, level), clustered.area(second, level)],
        correlation=matrix,
    )


def association(counts: Mapping[str, tuple[int, int]]) -> float | None:
    """Return Cramer's V of format cell and context, 0 none to 1 complete; None where one of them does not vary."""
    table = np.array([pair for pair in counts.values() if sum(pair)], dtype=np.float64).reshape(-1, 2).T
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return None
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum()))


# --- pushes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shift:
    """A shift of a rate over clusters. ``more`` and ``less`` are clusters with more and with less under the push."""

    estimate: float
    limits: Limits
    p_value: float
    clusters: int
    more: int
    less: int

    def value(self, holm_p: float, level: float) -> Value:
        """Return the shift with an interval that reaches 0 unless the exact test, after Holm, says otherwise."""
        low, high = self.limits
        if holm_p > 1.0 - level:
            low, high = min(low, 0.0), max(high, 0.0)
        return Value(self.estimate, (low, high))

    def smallest(self, level: float) -> float | None:
        """Return the smallest true shift that the exact test finds in four of five runs."""
        return _smallest(self.clusters, max((self.more + self.less) / self.clusters, LEAST_DISCORDANT), level)


def shift(plain: Array, pushed: Array, pairs: Sequence[str], level: float) -> Shift:
    """Return the shift over texts (text,) of 0 and 1, clustered by pair. Needs a text."""
    means = cluster_means(pushed - plain, pairs)
    more, less = int((means > 0.0).sum()), int((means < 0.0).sum())
    return Shift(
        estimate=math.fsum(means) / len(means),
        limits=spread_interval([float(one) for one in means], level),
        p_value=mcnemar_exact(more, less),
        clusters=len(means),
        more=more,
        less=less,
    )


def cluster_means(values: Array, pairs: Sequence[str]) -> Array:
    """Return the mean of each cluster's values, (cluster,), or (cluster, k) for k columns."""
    names, places = np.unique(pairs, return_inverse=True)
    table = values.reshape(len(values), -1)
    sums = np.stack([np.bincount(places, weights=column, minlength=len(names)) for column in table.T], axis=1)
    means: Array = sums / np.bincount(places, minlength=len(names))[:, None]
    return means[:, 0] if values.ndim == 1 else means


def random_shifts(plain: Array, random: Array, pairs: Sequence[str]) -> Array:
    """Return the shift along each random direction, (k,)."""
    found: Array = cluster_means(random - plain[:, None], pairs).mean(axis=0)
    return found


def excess(own: Shift, random: Array, others: Shift) -> Value:
    """Return by how much a shift is larger in size than that of the random direction that moves most.

    ``others`` is the shift of that direction. Recovered from both intervals, taken as independent.
    """
    return minus((abs(own.estimate), _size(own)), (float(np.abs(random).max()), _size(others)))


@lru_cache(maxsize=1024)  # it searches; every dose and context asks, often for the same share
def _smallest(clusters: int, share: float, level: float) -> float | None:
    return minimum_detectable_paired_difference(clusters, share, level=level)


def _size(one: Shift) -> Limits:
    """Return the limits of the size of a shift."""
    low, high = one.limits
    most = max(abs(low), abs(high))
    return (0.0 if low <= 0.0 <= high else min(abs(low), abs(high))), most
