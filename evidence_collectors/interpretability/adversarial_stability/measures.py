"""What do activations of clean and attacked texts say together? Numbers small enough to record.

Shapes: n texts, d the width at the point, F features. The frozen direction u is of unit length; a projection is recorded as
(x . u - origin) / gap, where the origin is the mean of the clean training negatives and the gap the distance of the class
means along u: on training texts negatives lie at 0 and positives at 1 on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dossier.errors import CollectionError
from evidence_collectors.interpretability.directions import difference_of_means, number, rounded
from evidence_collectors.interpretability.reading import Matrix, Vector

Labels = NDArray[np.bool_]  # (n,), true for positive texts


@dataclass(frozen=True, eq=False)
class Direction:
    """A frozen direction with its scale; ``random`` (k, d) are unit vectors turned alike, as a null.

    ``given``: it came with the plan and was not fitted on the training texts.
    """

    unit: Vector
    origin: float
    gap: float
    random: Matrix
    given: bool

    def projections(self, values: Matrix) -> Vector:
        """Return (n,): each text's projection in units of the clean gap."""
        found: Vector = (values @ self.unit - self.origin) / self.gap
        return found


def fit(train: Matrix, labels: Labels, *, given: Vector | None, random: Matrix) -> Direction:
    """Return the direction: the difference of the clean training means, or one that was given.

    Raises:
        CollectionError: a class is empty, the means do not differ, or a given direction has another width or does not
            separate the classes in its own sense.
    """
    shift = difference_of_means(train[labels], train[~labels])
    raw = shift if given is None else given
    if raw.shape != shift.shape or not np.linalg.norm(raw) > 0.0:
        raise CollectionError(f"the given direction has shape {raw.shape}, the activations have width {shift.size}")
    unit = raw / np.linalg.norm(raw)
    gap = float(shift @ unit)
    if not gap > 0.0:
        raise CollectionError("the given direction puts the positive training texts no higher than the negative ones")
    turn = np.where(random @ shift < 0.0, -1.0, 1.0)
    return Direction(unit, float(train[~labels].mean(axis=0) @ unit), gap, random * turn[:, None], given is not None)


def shift_cosine(values: Matrix, labels: Labels, against: Matrix | Vector) -> float | None:
    """Return the cosine of the class-mean shift with another shift, both as of infinitely many texts.

    ``against`` is a fixed vector (d,), or the same texts read otherwise (n, d). The cosine of two sample shifts is too small
    by the scatter of their means, and too large by the scatter they share; both are taken off, as the sums of squares and
    products that n texts leave in a mean (tr S / n). None where no shift is left, or a class has fewer than two texts.
    """
    found = _cosines(values, labels, against, without=False)
    return number(float(found[0])) if np.isfinite(found[0]) else None


def cosines_without(values: Matrix, labels: Labels, against: Matrix | Vector) -> Vector:
    """Return (n,): `shift_cosine` when each text in turn is left out; NaN where there is none."""
    return _cosines(values, labels, against, without=True)


def permuted_cosines(values: Matrix, labels: Labels, against: Vector, *, seed: str, count: int) -> list[float]:
    """Return |cosine| of the class-mean shift with a vector when the labels are shuffled, ``count`` times.

    Activations that vary along few directions give large cosines to shuffled labels too.
    """
    words = np.random.PCG64(int(seed, 16)).random_raw(count * len(labels)).reshape(count, len(labels))
    found = []
    for row in words:
        mixed = labels[np.argsort(row, kind="stable")]
        shift = values[mixed].mean(axis=0) - values[~mixed].mean(axis=0)
        length = float(np.linalg.norm(shift) * np.linalg.norm(against))
        found.append(number(abs(float(shift @ against)) / length) if length > 0.0 else 0.0)
    return found


def top_features(values: NDArray[np.floating], labels: Labels, count: int) -> list[int]:
    """Return the features that tell the classes apart best, best first; fewer where fewer differ at all.

    By the absolute difference of means in pooled standard deviations; features without spread do not count.
    """
    positive, negative = values[labels].astype(np.float64), values[~labels].astype(np.float64)
    if min(len(positive), len(negative)) < 2:
        return []
    degrees = len(positive) + len(negative) - 2
    squares = positive.var(axis=0) * len(positive) + negative.var(axis=0) * len(negative)
    spread = np.sqrt(squares / degrees)
    difference = np.abs(positive.mean(axis=0) - negative.mean(axis=0))
    scores = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0.0)
    order = np.argsort(-scores, kind="stable")[:count]
    return [int(feature) for feature in order if scores[feature] > 0.0]


def first_component_share(values: Matrix) -> float:
    """Return the share of variance that lies along one direction: near 1, any direction tells any two groups apart."""
    spread = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
    return number(float(spread[0] / spread.sum())) if spread.sum() > 0.0 else 1.0


def random_rows(direction: Direction, values: Matrix) -> list[list[float]]:
    """Return, for each text, its projection on each random direction."""
    return [rounded(row) for row in values @ direction.random.T]


def kept_share(clean: Sequence[float], attacked: Sequence[float]) -> list[float]:
    """Return attacked / clean of each node of a core that is not silent on clean texts; below 0 where it turned over."""
    return [number(a / c) for c, a in zip(clean, attacked, strict=True) if abs(c) > 0.0]


def _cosines(values: Matrix, labels: Labels, against: Matrix | Vector, *, without: bool) -> Vector:
    """Return the corrected cosines, (n,) with each text left out or (1,) with all."""
    fixed = against.ndim == 1
    other = values if fixed else np.asarray(against)
    shift, shift_other = _Shift.of(values, values, labels, without), _Shift.of(other, other, labels, without)
    products = _Shift.of(values, other, labels, without)
    if fixed:
        numerator, norm = shift.left @ against, np.full(len(shift.left), float(against @ against))
    else:
        numerator = np.einsum("nd,nd->n", products.left, products.right) - products.scatter
        norm = np.einsum("nd,nd->n", shift_other.left, shift_other.left) - shift_other.scatter
    own = np.einsum("nd,nd->n", shift.left, shift.left) - shift.scatter
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Vector = np.where((own > 0.0) & (norm > 0.0), numerator / np.sqrt(own * norm), np.nan)
    return found


@dataclass(frozen=True, eq=False)
class _Shift:
    """Differences of class means of two readings (k, d), and what scatter adds to their product on average (k,)."""

    left: Matrix
    right: Matrix
    scatter: Vector

    @staticmethod
    def of(one: Matrix, two: Matrix, labels: Labels, without: bool) -> _Shift:
        rows = len(labels) if without else 1
        left, right, scatter = np.zeros((rows, one.shape[1])), np.zeros((rows, one.shape[1])), np.zeros(rows)
        for side, sign in ((True, 1.0), (False, -1.0)):
            here = labels == side
            taken = (here[:, None] if without else np.zeros((1, 1))) * 1.0  # 1 where the left-out text is of this class
            count = here.sum() - taken[:, 0]
            sums = [part[here].sum(axis=0) - taken * (part if without else 0.0) for part in (one, two)]
            dots = np.einsum("nd,nd->n", one, two)
            total = dots[here].sum() - taken[:, 0] * (dots if without else 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                means = [part / count[:, None] for part in sums]
                spread = (total - count * np.einsum("nd,nd->n", *means)) / (count - 1.0)
                left, right = left + sign * means[0], right + sign * means[1]
                scatter = scatter + spread / count
        return _Shift(left, right, scatter)
