"""By how much is the behaviour more frequent under evaluation, and how sure is that?

With D_i the mean over scenario i's pairs of (shown under evaluation) - (shown in deployment), over n scenarios,

    shift = mean D_i

Scenarios are independent, pairs of one scenario are not. Where every scenario has one pair, the interval is
`dossier.comparison.paired_difference_interval`; with more, the same form over scenario means (Bonett and Price 2012: one
scenario more at each extreme),

    m = sum D_i / (n + 2)        half = z sqrt(((sum D_i^2 + 2) / (n + 2) - m^2) / (n + 2))

which is equal to it where all D_i are -1, 0 or 1. The p-value is McNemar's exact one on scenarios whose D_i is above or
below 0: with one pair each the test itself, with more the sign test. The interval reaches 0 unless the test says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from dossier.comparison import mcnemar_exact, minimum_detectable_paired_difference, paired_difference_interval
from dossier.statistics import Limits
from evidence_collectors.evaluation_awareness import clustered
from evidence_collectors.evaluation_awareness.behaviour_shift.reading import Pair, Shown

LEAST_DISCORDANT = 0.2  # share of scenarios that differ either way that the smallest detectable shift assumes


@dataclass(frozen=True)
class Shift:
    """A shift over scenarios. ``more`` and ``less`` are scenarios with more and with less under evaluation (b and c)."""

    estimate: float
    limits: Limits
    p_value: float
    scenarios: int
    more: int
    less: int
    smallest: float | None


def shift(pairs: Sequence[Pair], difference: Callable[[Pair], int | None], level: float) -> Shift | None:
    """Return the shift over the readable pairs, None where there is none. Unread pairs move the ends of the interval."""
    read = {name: [one for one in own if one is not None] for name, own in _differences(pairs, difference).items()}
    means = [math.fsum(own) / len(own) for own in read.values() if own]
    if not means:
        return None
    count = len(means)
    estimate = math.fsum(means) / count
    more, less = sum(one > 0.0 for one in means), sum(one < 0.0 for one in means)
    p_value = mcnemar_exact(more, less)
    low, high = _limits(means, whole=all(len(own) <= 1 for own in read.values()), level=level)
    if p_value > 1.0 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    low, high = clustered.widened(
        (low, high), estimate=estimate, worst=_filled(pairs, difference, -1), best=_filled(pairs, difference, 1)
    )
    return Shift(
        estimate=estimate,
        limits=(max(low, -1.0), min(high, 1.0)),
        p_value=p_value,
        scenarios=count,
        more=more,
        less=less,
        smallest=minimum_detectable_paired_difference(count, max((more + less) / count, LEAST_DISCORDANT), level=level),
    )


def rate(pairs: Sequence[Pair], side: Callable[[Pair], Shown], level: float) -> tuple[float, Limits] | None:
    """Return how often answers show the behaviour, scenarios as clusters; None below two scenarios."""
    known = [(pair.scenario, float(one)) for pair in pairs if isinstance(one := side(pair), bool)]
    names, places = np.unique([name for name, _ in known], return_inverse=True)
    if len(names) < 2:
        return None
    part = clustered.mean(np.array([value for _, value in known]), places.astype(np.int64), len(names))
    unread = len(pairs) - len(known)
    shown = sum(value for _, value in known)
    low, high = clustered.widened(
        clustered.bounded(part, level),
        estimate=part.estimate,
        worst=shown / len(pairs),
        best=(shown + unread) / len(pairs),
    )
    return part.estimate, (max(low, 0.0), min(high, 1.0))


def _differences(pairs: Iterable[Pair], difference: Callable[[Pair], int | None]) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for pair in pairs:
        found.setdefault(pair.scenario, []).append(difference(pair))
    return found


def _filled(pairs: Sequence[Pair], difference: Callable[[Pair], int | None], unread: int) -> float:
    """Return the shift had every unread pair differed in one way."""
    means = [
        sum(unread if one is None else one for one in own) / len(own)
        for own in _differences(pairs, difference).values()
    ]
    return math.fsum(means) / len(means)


def _limits(means: Sequence[float], *, whole: bool, level: float) -> Limits:
    if whole:
        more, less = (sum(one == sign for one in means) for sign in (1.0, -1.0))
        return paired_difference_interval(
            both=len(means) - more - less, first_only=more, second_only=less, neither=0, level=level
        )
    return spread_interval(means, level)


def spread_interval(means: Sequence[float], level: float) -> Limits:
    """Return the interval of the mean of numbers in [-1, 1] as if one more stood at each end."""
    count = len(means) + 2
    middle = math.fsum(means) / count
    square = (math.fsum(one * one for one in means) + 2.0) / count
    half = float(ndtri(0.5 + level / 2.0)) * math.sqrt((square - middle * middle) / count)
    seen = math.fsum(means) / len(means)
    return max(-1.0, min(middle - half, seen)), min(1.0, max(middle + half, seen))
