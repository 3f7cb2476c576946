"""How is a quantity written down as an observation?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dossier.model import Interval, Null, Observation, Unit
from evidence_collectors.interpretability.sae_features.estimates import NullReading, Quantity
from evidence_collectors.interpretability.sae_features.parameters import SaeFeaturesParameters

Facts = dict[str, int | float | str | None]

ALONE = "AUROC alone shows no use of a feature: read it beside its nulls and the ablation."
INDEPENDENT = "The interval treats items as independent; matched items share words, so it is approximate."
DELONG = "DeLong on the logit scale, widened by Wilson at the effective size"
CLUSTERED = "t over clusters of matched items, linearised, skewness removed (Hall)"
WIDER = "the wider at each end: t over clusters of matched items, linearised; the same, skewness removed (Hall)"
RANKED = (
    "the wider at each end: t over clusters for the set at that rank; bootstrap over clusters, ranked anew, percentiles"
)
SMALLEST = "Smallest detectable: the true value found with 80 % power at this interval's standard error."
SPLIT = {"test": "items of the split test", "transfer": "items of families that occur in no other split"}


def write(
    name: str,
    estimand: str,
    unit: Unit,
    quantity: Quantity,
    params: SaeFeaturesParameters,
    *,
    n: tuple[int, str],
    method: str,
    interval: str,
    null: Null | None = None,
    facts: Mapping[str, int | float | str | None] | None = None,
    limits: Sequence[str] = (),
) -> Observation:
    """Return a quantity as an observation; ``n`` is the number and what it counts, ``interval`` the interval's method."""
    within = _BOUNDS.get(unit)
    ends = quantity.limits
    if ends is not None and within is not None:
        ends = max(ends[0], within[0]), min(ends[1], within[1])
    smallest = quantity.smallest if quantity.estimate is not None else None
    return Observation(
        id=name,
        estimand=estimand,
        unit=unit,
        estimate=quantity.estimate,
        interval=None
        if ends is None or quantity.estimate is None
        else Interval(low=ends[0], high=ends[1], level=params.interval_level, method=interval),
        n=n[0],
        n_counts=n[1],
        method=method,
        reasons=tuple(dict.fromkeys(quantity.reasons)),
        null=null,
        smallest_detectable=smallest,
        facts=dict(facts or {}),
        limits=(*limits, SMALLEST) if smallest is not None else tuple(limits),
    )


def as_null(null: NullReading | None) -> Null | None:
    """Return a null's reading as the null of an observation: its middle, and its 5th and 95th percentile."""
    if null is None:
        return None
    return Null(
        what=null.what, estimate=null.middle, low=min(null.low, null.middle), high=max(null.strict, null.middle)
    )


_BOUNDS: Mapping[Unit, tuple[float, float]] = {
    "proportion": (0.0, 1.0),
    "auroc": (0.0, 1.0),
    "proportion_difference": (-1.0, 1.0),
}
