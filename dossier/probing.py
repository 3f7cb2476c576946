"""What do the columns of an (item, feature) matrix say about a label, and what would they say by chance?

A scan of many features finds one that fits by chance; a dense probe is the baseline a sparse feature has to beat
(Kantamneni et al. 2025, arXiv:2502.16681); and where one component holds nearly all variance, any direction separates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Array = NDArray[np.float64]

TIE = 1e-9  # correlations this close count as equal: matrix products round differently from machine to machine
CHUNK = 4_000_000  # numbers held at a time per product; 32 MB
NEWTON_STEPS = 200
CONVERGED = 1e-14  # Newton decrement squared per item, in nats; the step that shows it is still taken, and squares it
ARMIJO = 1e-4  # share of the promised decrease that a step must bring (Nocedal and Wright 2006, section 3.1)


@dataclass(frozen=True, eq=False)
class MaxStatistic:
    """A scan over features, each judged against the largest of all of them under permuted labels.

    ``correlations`` (feature,) is between a feature and the label, ``p_values`` (feature,) is two-sided and holds for the
    whole family, ``null_maxima`` (permutation,) has the largest absolute correlation of each permutation, in rising order.
    """

    correlations: Array
    p_values: Array
    null_maxima: Array


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """The log odds of the label are ``features @ weights + bias``."""

    weights: Array  # (feature,)
    bias: float


def max_t_permutation(scores: ArrayLike, labels: ArrayLike, *, seed: str, permutations: int) -> MaxStatistic | None:
    """Return which columns of ``scores``, (item, feature), go with the yes-no ``labels``, corrected for all looks.

    The statistic is the point-biserial correlation, whose size rises with that of Student's t at pooled variance, so that
    features on any scale compete fairly; rank the columns first for a rank-sum scan. Single step: a feature's p-value is
    (1 + permutations whose maximum reaches it) / (1 + permutations). Items must be exchangeable when labels mean nothing:
    not so for several items from one conversation. Constant columns get correlation 0 and p-value 1. Put items in a fixed
    order: permutations act on places. None if one label is missing.

    Raises:
        ValueError: shapes that do not fit, labels other than 0 and 1, or no permutations.

    Source: Westfall and Young 1993, Resampling-Based Multiple Testing; the p-value: Phipson and Smyth 2010,
    Statistical Applications in Genetics 9:39.
    """
    matrix, chosen = _labelled(scores, labels)
    if permutations < 1:
        raise ValueError(f"{permutations} permutations")
    if chosen.all() or not chosen.any():
        return None
    items, features = matrix.shape
    standard = _standardised(matrix) / (items * chosen.std())
    observed = chosen @ standard
    maxima = np.zeros(permutations)
    generator = np.random.PCG64(int(seed, 16))
    step = max(1, CHUNK // max(features, items, 1))
    for start in range(0, permutations if features else 0, step):
        count = min(step, permutations - start)
        permuted = chosen[_orders(generator, items, count)]
        maxima[start : start + count] = np.abs(permuted @ standard).max(axis=1)
    maxima.sort()
    reached = permutations - np.searchsorted(maxima, np.abs(observed) - TIE, side="left")
    return MaxStatistic(correlations=observed, p_values=(1.0 + reached) / (1.0 + permutations), null_maxima=maxima)


def permutation_orders(seed: str, items: int, permutations: int) -> NDArray[np.int64]:
    """Return permutations of ``items`` places, (permutation, item), all alike in probability.

    Fisher and Yates from the last place down; place i changes with the upper half of a raw PCG64 word times i + 1, shifted
    down by 32 bits, as in `statistics.bootstrap_weights`. More permutations begin with the same ones.

    Source: Durstenfeld 1964, Communications of the ACM 7:420.
    """
    return _orders(np.random.PCG64(int(seed, 16)), items, permutations)


def linear_probe(features: ArrayLike, labels: ArrayLike, *, ridge: float) -> LinearProbe | None:
    """Return the logistic regression of yes-no ``labels`` on ``features``, (item, feature), the dense baseline.

    Minimises the summed negative log likelihood, in nats, plus ridge / 2 times the squared weights; the bias is free. This
    is scikit-learn's ``C = 1 / ridge``. Scale features first where their units differ. Deterministic: Newton's method from
    0 with backtracking, in the space the items span where features outnumber them, which changes nothing, as weights
    outside it only cost. None if one label is missing.

    Raises:
        ValueError: shapes that do not fit, labels other than 0 and 1, or a ridge that is not above 0: without it separable
            labels have no best weights.
        ArithmeticError: no convergence, or no definite curvature, in double precision.

    Source: le Cessie and van Houwelingen 1992, Applied Statistics 41:191.
    """
    matrix, chosen = _labelled(features, labels)
    if not ridge > 0.0:
        raise ValueError(f"a probe needs a ridge above 0, not {ridge}")
    if chosen.all() or not chosen.any():
        return None
    basis = None
    if matrix.shape[1] > matrix.shape[0]:
        basis, triangle = np.linalg.qr(matrix.T)  # features = triangle.T @ basis.T
        matrix = triangle.T
    solution = _newton(np.column_stack([matrix, np.ones(len(matrix))]), chosen, ridge)
    weights = solution[:-1] if basis is None else basis @ solution[:-1]
    return LinearProbe(weights=weights, bias=float(solution[-1]))


def first_component_share(matrix: ArrayLike) -> float | None:
    """Return the share of the variance of (item, feature) that lies along its first principal component.

    Near 1, nearly any direction orders items alike, and a high AUROC of one direction says little of that direction. None
    where nothing varies.
    """
    values = _finite_matrix(matrix)
    if not values.size or (values == values[0]).all():
        return None
    squares = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
    return float(squares[0] / squares.sum())


def _orders(generator: np.random.PCG64, items: int, permutations: int) -> NDArray[np.int64]:
    orders = np.tile(np.arange(items, dtype=np.int64), (permutations, 1))
    rows = np.arange(permutations)
    words = np.asarray(generator.random_raw(permutations * max(items - 1, 0))).reshape(permutations, max(items - 1, 0))
    for word, place in enumerate(range(items - 1, 0, -1)):
        other = ((words[:, word] >> np.uint64(32)) * np.uint64(place + 1) >> np.uint64(32)).astype(np.int64)
        orders[rows, other], orders[:, place] = orders[:, place].copy(), orders[rows, other]
    return orders


def _newton(design: Array, labels: Array, ridge: float) -> Array:
    """Return the minimum of `_loss`, by Newton's method; ``design`` ends in a column of ones, which is not penalised."""
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 0.0
    at = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = expit(design @ at)
        gradient = design.T @ (chance - labels) + penalty * at
        curvature = (design.T * (chance * (1.0 - chance))) @ design + np.diag(penalty)
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            break
        decrement = float(gradient @ step)  # free of the features' scale; the loss is half of it above its minimum
        if decrement <= CONVERGED * len(labels):
            return np.asarray(at - step)
        loss, share = _loss(design, labels, penalty, at), 1.0
        while _loss(design, labels, penalty, at - share * step) > loss - ARMIJO * share * decrement and share > 1e-9:
            share /= 2.0
        at = at - share * step
    raise ArithmeticError(
        f"the probe found no minimum in {NEWTON_STEPS} Newton steps; are features on very unequal scales?"
    )


def _loss(design: Array, labels: Array, penalty: Array, at: Array) -> float:
    odds = design @ at
    return float((np.logaddexp(0.0, odds) - labels * odds).sum() + 0.5 * (penalty * at * at).sum())


def _standardised(matrix: Array) -> Array:
    """Return the columns with mean 0 and variance 1; constant ones become 0."""
    constant = (matrix == matrix[0]).all(axis=0)
    centred = np.where(constant, 0.0, matrix - matrix.mean(axis=0))
    return centred / np.where(constant, 1.0, np.sqrt((centred**2).mean(axis=0)))


def _labelled(matrix: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    values, chosen = _finite_matrix(matrix), np.asarray(labels, dtype=np.float64)
    if chosen.shape != values.shape[:1] or not ((chosen == 0.0) | (chosen == 1.0)).all():
        raise ValueError(f"one label, 0 or 1, per row of {values.shape}; got {chosen.shape}")
    return values, chosen


def _finite_matrix(matrix: ArrayLike) -> Array:
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"not an (item, feature) matrix of finite numbers: shape {values.shape}")
    return values
