"""How is a quantity of a run made from counts over questions, and how is it written down? What the instruments here share.

Intervals as in `hint.estimates`: a bootstrap over questions gives each proportion an effective size; functions of several
proportions combine their limits, with the correlation the resamples show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dossier.model import Interval, Null, Observation, Unit
from dossier.statistics import Limits, recovered_interval
from evidence_collectors.cot_faithfulness.hint.estimates import Array, Part, correlation, proportion

__all__ = ["Array", "Facts", "Part", "Quantity", "Reasons", "Resampled", "combined", "proportion", "quantity", "write"]

Reasons = tuple[str, ...]
Facts = Mapping[str, int | float | str | None]


class Resampled(Protocol):
    """What an interval needs to know of an instrument's parameters."""

    @property
    def interval_level(self) -> float:
        """The coverage intervals claim."""
        ...

    @property
    def resamples(self) -> int:
        """How many bootstrap resamples make an interval."""
        ...


@dataclass(frozen=True)
class Quantity:
    """A part, or the reasons why there is none. ``unread`` is the range that unread pairs leave open, if any."""

    part: Part | None
    reasons: Reasons = ()
    unread: Limits | None = None

    @property
    def limits(self) -> Limits | None:
        """The interval, moved outwards by as much as the unread pairs could move the estimate."""
        if self.part is None:
            return None
        low, high = self.part.limits
        if self.unread is None:
            return low, high
        below, above = self.part.estimate - self.unread[0], self.unread[1] - self.part.estimate
        return low - max(below, 0.0), high + max(above, 0.0)


def quantity(reasons: Reasons, part: Callable[[], Part], unread: Limits | None = None) -> Quantity:
    """Return the part unless there are reasons against it."""
    return Quantity(None, reasons) if reasons else Quantity(part(), (), unread)


def combined(
    function: Callable[..., float], parts: Sequence[Part], *, within: Limits = (0.0, 1.0), size: float = 0.0
) -> Part:
    """Return a function of parts measured on the same questions, monotone in each, held within limits.

    ``function`` must take numbers and arrays alike.
    """
    draws = np.array([part.resamples for part in parts])
    estimates = [part.estimate for part in parts]
    limits = [part.limits for part in parts]
    low, high = recovered_interval(function, estimates, limits, correlation=correlation(draws))
    centre = float(np.clip(function(*estimates), *within))
    ends = (max(within[0], min(low, centre)), min(within[1], max(high, centre)))
    return Part(centre, ends, np.clip(function(*draws), *within), size)


def write(
    name: str,
    estimand: str,
    found: Quantity,
    params: Resampled,
    *,
    n: tuple[float, str],
    method: str,
    unit: Unit = "proportion",
    interval: str = "",
    null: Null | None = None,
    smallest: float | None = None,
    facts: Facts | None = None,
    limits: Sequence[str] = (),
) -> Observation:
    """Return a quantity as an observation; ``n`` is the number and what it counts, ``interval`` names another method."""
    part, ends = found.part, found.limits
    bounds = {"proportion": (0.0, 1.0), "proportion_difference": (-1.0, 1.0)}.get(unit, (-np.inf, np.inf))
    spelled = interval or (
        f"Wilson limits at effective sizes from {params.resamples} bootstrap resamples of questions, combined by recovery of "
        "variance estimates"
    )
    return Observation(
        id=name,
        estimand=estimand,
        unit=unit,
        estimate=None if part is None else part.estimate,
        interval=None
        if part is None or ends is None
        else Interval(
            low=max(bounds[0], min(ends[0], part.estimate)),
            high=min(bounds[1], max(ends[1], part.estimate)),
            level=params.interval_level,
            method=spelled,
        ),
        n=int(n[0]),
        n_counts=n[1],
        method=method,
        reasons=found.reasons,
        null=null,
        smallest_detectable=smallest if part is not None else None,
        facts=facts or {},
        limits=tuple(limits),
    )
