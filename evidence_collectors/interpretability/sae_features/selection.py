"""Which features go with the concept, and which others are like them in everything but that?

Only texts of the splits `train` and `validation` choose. A feature's score is the point-biserial correlation of its value at
the position with the label; features that fire more on positives compete. Each chosen feature gets companions of like firing
rate and like strength, drawn at random: what they do is what choosing would have found in any features. Pure numpy.

Shapes: t texts, F features, k chosen, s random sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evidence_collectors.interpretability.sparse_statistics import TextFeatures

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEAREST = 12  # companions are drawn from this many features most like the chosen one
TIE = 1e-9  # correlations this close count as equal; the lower index then comes first


@dataclass(frozen=True, eq=False)
class Profile:
    """What each feature does on the texts that choose, (F,) each: active share, mean, standard deviation, correlation."""

    share: Floats
    mean: Floats
    deviation: Floats
    correlation: Floats


def profile(found: TextFeatures, positive: NDArray[np.bool_], negative: NDArray[np.bool_], *, width: int) -> Profile:
    """Return every feature's profile from active entries; ``positive`` and ``negative`` are (t,) and do not overlap."""
    counted = positive | negative
    kept = counted[found.text]
    text, feature, value = found.text[kept], found.feature[kept], found.value[kept]
    n = int(counted.sum())
    share = np.bincount(feature, minlength=width) / n
    mean = np.bincount(feature, weights=value, minlength=width) / n
    squares = np.bincount(feature, weights=value**2, minlength=width) / n
    deviation = np.sqrt(np.maximum(squares - mean**2, 0.0))
    above = np.bincount(feature, weights=value * positive[text], minlength=width) / positive.sum()
    below = np.bincount(feature, weights=value * negative[text], minlength=width) / negative.sum()
    spread = np.sqrt(float(positive.sum()) * float(negative.sum())) / n
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-12)
    correlation = np.divide((above - below) * spread, deviation, out=np.zeros(width), where=varies)
    return Profile(share, mean, np.where(varies, deviation, 0.0), correlation)


def chosen(found: Profile, count: int) -> tuple[int, ...]:
    """Return the features that fire more on positives, the most correlated first, at most ``count``."""
    order = np.lexsort((np.arange(found.correlation.size), -np.round(found.correlation / TIE)))
    return tuple(int(feature) for feature in order[:count] if found.correlation[feature] > TIE)


def companions(
    found: Profile, decoder_norms: Floats, features: Sequence[int], *, sets: int, seed: str
) -> Integers | None:
    """Return random features like the chosen ones, (s, k): none of them chosen, and no set holds one twice.

    Alike means near in the logarithms of active share and of mean contribution (mean x decoder norm). None where too few
    features are alive to draw from.
    """
    strength = found.mean * decoder_norms
    alive = np.flatnonzero((found.share > 0.0) & (found.deviation > 0.0) & (strength > 0.0))
    others = np.setdiff1d(alive, np.asarray(features))
    if others.size < max(2 * len(features), NEAREST):
        return None
    words = iter(np.random.PCG64(int(seed, 16)).random_raw(sets * len(features)).tolist())
    near = [others[np.argsort(_distance(found, strength, feature, others), kind="stable")] for feature in features]
    drawn = np.zeros((sets, len(features)), dtype=np.int64)
    for row in range(sets):
        taken: set[int] = set()
        for column, ranked in enumerate(near):
            free = [int(one) for one in ranked if int(one) not in taken][:NEAREST]
            drawn[row, column] = free[((next(words) >> 32) * len(free)) >> 32]
            taken.add(int(drawn[row, column]))
    return drawn


def changed(
    subject: TextFeatures, baseline: TextFeatures, *, texts: int, width: int, count: int
) -> tuple[tuple[int, float, float], ...]:
    """Return the features whose value at the position changed most between two models on the same texts.

    Each with the mean and the deviation of its change, subject minus baseline, over texts. By the size of Student's paired
    t, so that scales compete fairly.
    """
    keys = np.concatenate([one.text * width + one.feature for one in (subject, baseline)])
    values = np.concatenate([subject.value, -baseline.value])
    places, where = np.unique(keys, return_inverse=True)
    difference = np.bincount(where, weights=values, minlength=places.size)
    feature = places % width
    mean = np.bincount(feature, weights=difference, minlength=width) / texts
    squares = np.bincount(feature, weights=difference**2, minlength=width) / texts
    deviation = np.sqrt(np.maximum(squares - mean**2, 0.0))
    floor = 1e-6 * np.sqrt(np.maximum(squares, 1e-30))
    t = np.where(squares > 1e-20, np.abs(mean) / np.maximum(deviation, floor), 0.0)
    order = np.lexsort((np.arange(width), -np.round(t / TIE)))[:count]
    return tuple((int(one), float(mean[one]), float(deviation[one])) for one in order)


def _distance(found: Profile, strength: Floats, feature: int, others: Integers) -> Floats:
    share = np.abs(np.log(found.share[others]) - np.log(found.share[feature]))
    size = np.abs(np.log(strength[others]) - np.log(strength[feature]))
    distance: Floats = share + size
    return distance
