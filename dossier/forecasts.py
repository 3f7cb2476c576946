"""Do probabilities mean what they say, and do yes-no calls beat guessing?

Nothing here depends on the order of items. None means that nothing can be said, as for no items.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dossier.ranking import finite_scores, twice_midranks

Array = NDArray[np.float64]


def brier(probabilities: ArrayLike, outcomes: ArrayLike) -> float | None:
    """Return the mean squared distance of probabilities from what came, 0 best; always saying 1/2 gives 0.25. None for none.

    Source: Brier 1950, Monthly Weather Review 78:1.
    """
    said, came = _forecasts(probabilities, outcomes)
    return math.fsum((said - came) ** 2) / said.size if said.size else None


def expected_calibration_error(probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10) -> float | None:
    """Return how far probabilities are from the share that came, on average over bins of equal mass.

    Equal probabilities share a bin, so bins may differ in size. Above 0 even for true probabilities: read it beside
    `chance_calibration_error`. None with fewer than two items a bin.

    Raises:
        ValueError: no bins, a probability outside [0, 1], or an outcome other than 0 and 1.

    Source: Nguyen and O'Connor 2015, EMNLP, arXiv:1508.05154 (equal mass).
    """
    said, came = _forecasts(probabilities, outcomes)
    parts = _bins(said, bins)
    return math.fsum(abs(math.fsum(said[part] - came[part])) for part in parts) / said.size if parts else None


def chance_calibration_error(probabilities: ArrayLike, *, bins: int = 10) -> float | None:
    """Return the `expected_calibration_error` that sampling of outcomes alone gives these probabilities if all are true.

    Takes each bin's gap as normal: good to a few per cent from ten items a bin. None with fewer than two items a bin.
    """
    said = _forecasts(probabilities, np.zeros(np.shape(probabilities)))[0]
    parts = _bins(said, bins)
    spreads = [math.sqrt(math.fsum(said[part] * (1.0 - said[part]))) for part in parts]
    return math.sqrt(2.0 / math.pi) * math.fsum(spreads) / said.size if parts else None


def squared_calibration_error(probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10) -> float | None:
    """Return the mean squared gap between probabilities and the share that came, less what sampling of outcomes adds.

    Debiased: 0 on average for true probabilities, hence below 0 at times. The root of a positive value is on the scale of
    probabilities. The expected calibration error itself is not offered debiased: its resampling form, from the same source,
    left three fifths of the bias of true probabilities at 20 items a bin. None where a bin has one item only.

    Raises:
        ValueError: as `expected_calibration_error`.

    Source: Kumar, Liang and Ma 2019, NeurIPS, arXiv:1909.10155, section 4.
    """
    said, came = _forecasts(probabilities, outcomes)
    parts = _bins(said, bins)
    if not parts or min(part.size for part in parts) < 2:
        return None
    terms = []
    for part in parts:
        gap, share = math.fsum(said[part] - came[part]) / part.size, math.fsum(came[part]) / part.size
        terms.append(part.size / said.size * (gap * gap - share * (1.0 - share) / (part.size - 1)))
    return math.fsum(terms)


def balanced_accuracy(*, tp: int, fn: int, tn: int, fp: int) -> float | None:
    """Return the mean of sensitivity and specificity; guessing gives 0.5 at any base rate. None if a class is empty.

    Source: Brodersen et al. 2010, ICPR.
    """
    if min(tp, fn, tn, fp) < 0:
        raise ValueError(f"not counts: {(tp, fn, tn, fp)}")
    return (tp / (tp + fn) + tn / (tn + fp)) / 2.0 if tp + fn and tn + fp else None


def _forecasts(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Array, Array]:
    said, came = finite_scores(probabilities), finite_scores(outcomes)
    if said.size != came.size or not (((said >= 0.0) & (said <= 1.0)).all() and ((came == 0.0) | (came == 1.0)).all()):
        raise ValueError("as many outcomes, each 0 or 1, as probabilities in [0, 1]")
    return said, came


def _bins(said: Array, bins: int) -> list[NDArray[np.int64]]:
    """Return the places of the items of each bin, ties together; none where bins would have fewer than two items."""
    if bins < 1:
        raise ValueError(f"{bins} bins")
    if said.size < 2 * bins:
        return []
    number = (twice_midranks(said) - 1) * bins // (2 * said.size)
    return [np.flatnonzero(number == each) for each in np.unique(number)]
