"""Which interval, which test, which seed? Pure functions over numbers; numpy and scipy.special only.

Random numbers are raw PCG64 words mapped by our own code, because numpy promises its bit generators' streams but not those
of `numpy.random.Generator` (NEP 19): a verifier years later draws the same resamples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, bdtri, ndtri

from dossier.model import TrialKey

Limits = tuple[float, float]  # low <= high


def trial_seed(root: str, kind: str, key: TrialKey) -> str:
    """Return a trial's seed: 16 hexadecimal digits of SHA-256 over (root, kind, item, arm, repeat).

    Batch size, order and added items change no other trial, and two arms of one item share no draw.
    """
    text = "\0".join((root, kind, key.item, key.arm, str(key.repeat)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def root_seed(plan_sha256: str, nonce: str | None) -> str:
    """Return a plan's root seed: 16 hexadecimal digits of SHA-256 over the plan's digest and, where given, the nonce."""
    return hashlib.sha256(f"dossier root seed\0{plan_sha256}\0{nonce or ''}".encode()).hexdigest()[:16]


def wilson(proportion: float, n: float, level: float = 0.95) -> Limits:
    """Return Wilson's score interval for a proportion seen in ``n`` trials; ``n`` may be an effective size.

    Never of width zero, inside [0, 1], and holds the proportion.

    Raises:
        ValueError: the proportion is outside [0, 1], or nothing was counted.

    Source: Wilson 1927, JASA 22:209.
    """
    if not 0.0 <= proportion <= 1.0 or n <= 0.0:
        raise ValueError(f"no interval for proportion {proportion} of n = {n}")
    z = float(ndtri(0.5 + level / 2.0))
    centre = (proportion + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * math.sqrt(proportion * (1.0 - proportion) / n + z * z / (4.0 * n * n))
    return max(0.0, min(centre - half, proportion)), min(1.0, max(centre + half, proportion))


def effective_size(proportion: float, variance: float, *, most: float, at_edge: float) -> float:
    """Return how many independent trials would give a proportion this variance, at most ``most``.

    At 0 and 1, where no variance is seen, it is ``at_edge``. With `wilson` this makes an interval for clustered data
    (Franco et al. 2019, J. Survey Statistics and Methodology 7:334).
    """
    if variance <= 0.0 or not 0.0 < proportion < 1.0:
        return at_edge
    return min(proportion * (1.0 - proportion) / variance, most)


def recovered_interval(
    function: Callable[..., float],
    estimates: Sequence[float],
    limits: Sequence[Limits],
    *,
    correlation: NDArray[np.float64] | None = None,
) -> Limits:
    """Return an interval for a monotone function of several estimates, from the interval of each.

    The method of variance estimates recovery: the distances from the function's value to its values with one estimate at
    a limit are squared and added, with cross terms where estimates are correlated. ``correlation`` is (estimate,
    estimate); None means independent. Unlike a normal interval it keeps the asymmetry of each part.

    Source: Zou and Donner 2008, Statistics in Medicine 27:1693.
    """
    centre = function(*estimates)
    below, above = [], []
    for place, (low, high) in enumerate(limits):
        ends = [function(*estimates[:place], end, *estimates[place + 1 :]) for end in (low, high)]
        sign = 1.0 if ends[1] >= ends[0] else -1.0
        below.append(sign * (centre - min(ends)))
        above.append(sign * (max(ends) - centre))
    matrix = np.eye(len(limits)) if correlation is None else correlation
    down, up = (float(np.asarray(part) @ matrix @ np.asarray(part)) for part in (below, above))
    return centre - math.sqrt(max(down, 0.0)), centre + math.sqrt(max(up, 0.0))


def bootstrap_weights(seed: str, units: int, resamples: int) -> NDArray[np.float64]:
    """Return how often each unit is drawn in each resample, (resample, unit); rows sum to ``units``.

    A draw is the upper half of a raw PCG64 word times ``units``, shifted down by 32 bits (Lemire 2019); its bias is below
    units / 2**32.
    """
    words = np.random.PCG64(int(seed, 16)).random_raw(resamples * units)
    drawn = ((words >> np.uint64(32)) * np.uint64(units)) >> np.uint64(32)
    rows = np.repeat(np.arange(resamples, dtype=np.int64) * units, units)
    counts = np.bincount(rows + drawn.astype(np.int64), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)


def smallest_detectable_rate(n: int, null: float, *, level: float = 0.95, power: float = 0.8) -> float | None:
    """Return the smallest true rate that an exact one-sided binomial test against ``null`` finds with that power.

    The test is at (1 - level) / 2. None where even a rate of 1 would not be found.
    """
    at_least = bdtrc(np.arange(n), n, null)  # P(more than 0, 1, ... n - 1 hits), falling
    below = np.flatnonzero(at_least <= (1.0 - level) / 2.0)
    return float(bdtri(below[0], n, 1.0 - power)) if below.size else None
