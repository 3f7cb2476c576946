"""How far does a quantity move under attack, and how sure is that? Texts are the units, each read clean and attacked.

    retention  rho = mean p_a / mean p_c over positive texts, p the projection in units of the clean training gap
               (negatives at 0, positives at 1); Fieller's interval for a ratio of paired means. The gap's retention is
               alike with the classes' distance under the same attack in place of the positive texts' mean
    cosine     of class-mean shifts, attacked against clean, corrected for the scatter of sample means; jackknife over texts
    rates      exact intervals (Clopper and Pearson); paired differences of rates after Bonett and Price

Source: Fieller 1954, J. Royal Statistical Society B 16:175 (the ratio); Tukey's jackknife as in Efron and Tibshirani 1993,
chapter 11 (the cosine). Coverage of all of them is measured in `calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from dossier.comparison import clopper_pearson, paired_difference_interval
from dossier.statistics import Limits

Array = NDArray[np.float64]
_LEAST = 1e-9  # half the width of the narrowest interval


@dataclass(frozen=True)
class Estimate:
    """A value with its limits, or reasons why there is none. ``n`` counts what the observation's words say."""

    value: float | None
    limits: Limits | None
    n: int
    reasons: tuple[str, ...] = ()
    facts: Mapping[str, int | float | str | None] = field(default_factory=dict)


def missing(n: int, *reasons: str) -> Estimate:
    """Return an estimate that there is not, and why."""
    return Estimate(None, None, n, reasons)


def ratio_of_means(attacked: Array, clean: Array, level: float) -> Estimate:
    """Return mean(attacked) / mean(clean) over the same texts, with Fieller's interval."""
    n = len(clean)
    covariance = np.cov(np.vstack([attacked, clean])) / n
    return _fieller((_mean(attacked), _mean(clean)), covariance, n - 1, level, n)


def ratio_of_gaps(attacked: tuple[Array, Array], clean: tuple[Array, Array], level: float) -> Estimate:
    """Return the distance of two classes' means under attack over the clean one; each is (positive, negative) texts."""
    pairs = list(zip(attacked, clean, strict=True))
    covariance = sum(np.cov(np.vstack(pair)) / len(pair[0]) for pair in pairs)
    gaps = tuple(_mean(side[0]) - _mean(side[1]) for side in (attacked, clean))
    n = min(len(side) for side in clean)
    return _fieller((gaps[0], gaps[1]), np.asarray(covariance), n - 1, level, sum(map(len, clean)))


def mean_difference(attacked: Array, clean: Array, level: float) -> Estimate:
    """Return mean(attacked - clean) over the same texts, with Student's interval."""
    change = np.sort(attacked - clean)
    n, value = len(change), _mean(change)
    half = float(stdtrit(n - 1, 0.5 + level / 2.0)) * float(change.std(ddof=1)) / math.sqrt(n)
    return Estimate(value, (value - half, value + half), n)


def jackknifed_cosine(value: float, without: Sequence[float], level: float) -> Estimate:
    """Return a corrected cosine, held within [-1, 1], with limits from its values without each text.

    The correction may put a sample's value beyond 1; the limits are cut off there and never of width zero.
    """
    n = len(without)
    values = np.sort(np.asarray(without, dtype=np.float64))
    error = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    half = max(float(stdtrit(n - 1, 0.5 + level / 2.0)) * error, _LEAST)
    held = min(max(value, -1.0), 1.0)
    return Estimate(held, (max(min(value - half, held), -1.0), min(max(value + half, held), 1.0)), n)


def rate(hits: int, n: int, level: float) -> Estimate:
    """Return hits / n with the exact interval."""
    return Estimate(hits / n, clopper_pearson(hits, n, level), n)


def paired_change(attacked: Sequence[bool], clean: Sequence[bool], level: float) -> Estimate:
    """Return the rate under attack minus the clean rate, on the same texts."""
    pairs = list(zip(attacked, clean, strict=True))
    counts = {
        name: sum(pair == kind for pair in pairs)
        for name, kind in (
            ("both", (True, True)),
            ("first_only", (True, False)),
            ("second_only", (False, True)),
            ("neither", (False, False)),
        )
    }
    value = (counts["first_only"] - counts["second_only"]) / len(pairs)
    limits = paired_difference_interval(**counts, level=level)
    facts = {"gained": counts["first_only"], "lost": counts["second_only"], "kept": counts["both"]}
    return Estimate(value, (min(limits[0], value), max(limits[1], value)), len(pairs), facts=facts)


def worst(parts: Mapping[str, Estimate], strict: Mapping[str, Estimate], *, lowest: bool) -> Estimate:
    """Return the lowest (or highest) of several attacks' values, only if every one is estimable.

    The unfavourable limit is the most unfavourable one of all; it is wrong only if the truly worst attack's own limit is.
    The other end is the least of the far limits in ``strict``, whose levels allow for looking at all attacks
    (Bonferroni).
    """
    lacking = [f"{name}: {'; '.join(one.reasons)}" for name, one in parts.items() if one.value is None]
    n = min((one.n for one in parts.values()), default=0)
    if lacking or not parts:
        return missing(n, *(f"not estimable for {reason}" for reason in lacking))
    sign = 1.0 if lowest else -1.0
    values = {name: sign * one.value for name, one in parts.items() if one.value is not None}
    name = min(sorted(values), key=values.__getitem__)
    near = [_turned(one.limits, sign)[0] for one in parts.values() if one.limits is not None]
    far = [_turned(one.limits, sign)[1] for one in strict.values() if one.limits is not None]
    limits = None
    if len(near) == len(parts) and len(far) == len(parts):
        limits = _turned((min(near), max(min(far), values[name])), sign)
    return Estimate(parts[name].value, limits, parts[name].n, facts={"attack": name, "attacks": len(parts)})


def quantiles(values: Array, name: str) -> dict[str, int | float | str | None]:
    """Return five quantiles of a distribution, as facts a figure is drawn from."""
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    found = np.quantile(values, shares)
    return {f"{name}_q{round(100 * share):02d}": float(one) for share, one in zip(shares, found, strict=True)}


def _fieller(means: tuple[float, float], covariance: Array, freedom: int, level: float, n: int) -> Estimate:
    """Return the first mean over the second, from the (2, 2) covariance of the two."""
    centre, base = means
    t = float(stdtrit(freedom, 0.5 + level / 2.0))
    a = base**2 - t * t * covariance[1, 1]
    b = centre * base - t * t * covariance[0, 1]
    c = centre**2 - t * t * covariance[0, 0]
    if a <= 0.0 or base <= 0.0:
        return missing(n, "without an attack the positive texts do not lie above the negative ones: no ratio to it")
    half = math.sqrt(max(b * b - a * c, 0.0)) / a
    value = centre / base
    return Estimate(value, (float(min(b / a - half, value)), float(max(b / a + half, value))), n)


def _mean(values: Array) -> float:
    return float(np.sort(values).mean())


def _turned(limits: Limits, sign: float) -> Limits:
    return limits if sign > 0.0 else (-limits[1], -limits[0])
