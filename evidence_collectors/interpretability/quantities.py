"""How is a measured quantity written down, and which interval has the mean of a few numbers?

What the instruments on directions share when they turn trials into observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from dossier.model import Interval, Null, Observation, Unit
from dossier.statistics import Limits, recovered_interval

Facts = Mapping[str, int | float | str | None]
Array = NDArray[np.float64]

T_METHOD = "Student's t for the mean over texts"


@dataclass(frozen=True)
class Value:
    """An estimate with its interval, or None and why not."""

    estimate: float | None
    limits: Limits | None = None
    reasons: tuple[str, ...] = ()

    @staticmethod
    def unknown(*reasons: str) -> Value:
        """Return what cannot be estimated."""
        return Value(None, None, tuple(reason for reason in reasons if reason))


def write(
    name: str,
    estimand: str,
    value: Value,
    *,
    unit: Unit,
    n: tuple[int, str],
    method: str,
    interval: tuple[str, float],
    null: Null | None = None,
    facts: Facts | None = None,
    limits: Sequence[str] = (),
    smallest: float | None = None,
) -> Observation:
    """Return a value as an observation; ``n`` is the number and what it counts, ``interval`` its method and level."""
    found = None
    if value.estimate is not None and value.limits is not None:
        low, high = min(value.limits[0], value.estimate), max(value.limits[1], value.estimate)
        found = Interval(low=low, high=high, level=interval[1], method=interval[0])
    return Observation(
        id=name,
        estimand=estimand,
        unit=unit,
        estimate=value.estimate,
        interval=found,
        n=n[0],
        n_counts=n[1],
        method=method,
        reasons=value.reasons,
        null=null if value.estimate is not None else None,
        smallest_detectable=smallest if value.estimate is not None else None,
        facts=facts or {},
        limits=tuple(limits),
    )


def mean_value(values: Array, level: float) -> Value:
    """Return the mean of independent numbers with Student's interval; None below two."""
    if len(values) < 2:
        return Value.unknown(f"{len(values)} numbers have no interval")
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((values - mean) ** 2) / (len(values) - 1))
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2.0)) * spread / math.sqrt(len(values))
    return Value(mean, (mean - half, mean + half))


def upper_quantile(values: ArrayLike, share: float = 0.95) -> int:
    """Return the place of the smallest value that at least this share of the values do not exceed."""
    order = np.argsort(np.asarray(values), kind="stable")
    return int(order[max(math.ceil(share * len(order) - 1e-9), 1) - 1])


def minus(first: tuple[float, Limits], second: tuple[float, Limits]) -> Value:
    """Return a difference of two estimates taken as independent."""
    limits = recovered_interval(lambda a, b: a - b, [first[0], second[0]], [first[1], second[1]])
    return Value(first[0] - second[0], limits)


def middle(values: Array, shares: tuple[float, float]) -> tuple[float, float, float]:
    """Return the mean of many readings, and two quantiles of them, not of their mean, moved out to hold it."""
    mean = float(values.mean())
    low, high = (float(np.quantile(values, share)) for share in shares)
    return mean, min(low, mean), max(high, mean)


def random_null(values: Array) -> Null:
    """Return what random directions give, (k,), as a null."""
    mean, low, high = middle(values, (0.05, 0.95))
    what = "random directions at equal norm: mean, and 5 % to 95 % of them"
    return Null(what=what, estimate=mean, low=low, high=high)


def quantiles(prefix: str, values: Array) -> dict[str, int | float | str | None]:
    """Return the quantiles that a picture of a distribution needs, by name; empty where there are no values."""
    if not values.size:
        return {}
    return {f"{prefix}_q{share:02d}": float(np.quantile(values, share / 100.0)) for share in (5, 25, 50, 75, 95)}
