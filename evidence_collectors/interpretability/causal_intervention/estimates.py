"""By how much does an intervention move the behaviour, how sure is that, and how much would any push of this size do?

Shapes: n texts, k control directions. Texts are paired: each is asked plain and changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dossier.comparison import (
    holm,
    mcnemar_exact,
    minimum_detectable_paired_difference,
    paired_difference_interval,
)
from dossier.statistics import Limits
from evidence_collectors.interpretability.causal_intervention.reading import Answered, Array, Control, Reading
from evidence_collectors.interpretability.causal_intervention.trials import PLAIN, Arm
from evidence_collectors.interpretability.quantities import Value, upper_quantile

LEAST_DISCORDANT = 0.2  # share of texts whose answer differs either way that the smallest detectable change assumes


@dataclass(frozen=True)
class Pairs:
    """How many texts showed the behaviour in both arms, in one, in none. ``gained`` only when changed."""

    both: int
    gained: int
    lost: int
    neither: int

    @staticmethod
    def of(plain: Array, changed: Array) -> Pairs:
        """Return the counts of two arms over the same texts, 1 where the behaviour was shown."""
        before, after = plain > 0.5, changed > 0.5
        return Pairs(
            both=int((before & after).sum()),
            gained=int((~before & after).sum()),
            lost=int((before & ~after).sum()),
            neither=int((~before & ~after).sum()),
        )

    @property
    def count(self) -> int:
        """All pairs."""
        return self.both + self.gained + self.lost + self.neither

    @property
    def change(self) -> float:
        """The rate when changed minus the plain rate."""
        return (self.gained - self.lost) / self.count

    @property
    def p_value(self) -> float:
        """The exact probability of so lopsided a change if both arms show it alike."""
        return mcnemar_exact(self.gained, self.lost)

    def limits(self, level: float) -> Limits:
        """Return the interval of the change."""
        return paired_difference_interval(
            both=self.both, first_only=self.gained, second_only=self.lost, neither=self.neither, level=level
        )

    def smallest_detectable(self, level: float) -> float | None:
        """Return the smallest true change that the exact test finds in four of five runs."""
        share = max((self.gained + self.lost) / self.count, LEAST_DISCORDANT)
        return minimum_detectable_paired_difference(self.count, share, level=level)


def readable(reading: Reading, arm: str, label: str, minimum: int) -> tuple[str, ...]:
    """Return why the texts of a class cannot be compared in an arm, nothing where they can."""
    tables = [reading.answered[(name, label)] for name in dict.fromkeys((PLAIN, arm))]
    reasons = [reading.why] if reading.self_test is None or reading.handle is None else []
    reasons += [table.why for table in tables]
    if not any(reasons) and len(tables[0].shown) < minimum:
        reasons.append(f"{len(tables[0].shown)} {label} texts; {minimum} are needed")
    return tuple(dict.fromkeys(reason for reason in reasons if reason))


def adjusted(reading: Reading, planned: Sequence[Arm], label: str, minimum: int) -> Mapping[str, float]:
    """Return Holm's p-value of each arm's change over all planned arms; one that cannot be read counts as 1."""
    values = [
        1.0 if readable(reading, arm.name, label, minimum) else pairs_of(reading, arm.name, label).p_value
        for arm in planned
    ]
    return dict(zip([arm.name for arm in planned], map(float, holm(values)), strict=True))


def pairs_of(reading: Reading, arm: str, label: str, *, first: int | None = None) -> Pairs:
    """Return the pairs of an arm, of the first texts by id where ``first`` says so."""
    plain, changed = (reading.answered[(name, label)] for name in (PLAIN, arm))
    return Pairs.of(plain.shown[:first], changed.shown[:first])


def change(pairs: Pairs, holm_p: float, level: float) -> Value:
    """Return the change with an interval that reaches 0 unless the exact test, after Holm, says otherwise."""
    low, high = pairs.limits(level)
    if holm_p > 1.0 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return Value(pairs.change, (low, high))


def ratio(reading: Reading, control: Control, arm: str, label: str) -> Value:
    """Return how many times the 95th percentile of the random controls' change the direction's own change is.

    Both in absolute value and on the same texts. Where fewer than one text changes at that percentile, one text is taken:
    the ratio is then the least it can be. A description without an interval: which random direction is the strictest is
    partly chance, so that the denominator is read too large, and no interval for the quotient of the two counts knows by
    how much (a true 10 was read as 5 with 20 texts, and held in 0.81 to 0.86 of studies).
    """
    count = control.texts.get(label, 0)
    if control.why or label not in control.change or not count:
        return Value.unknown(control.why or f"no {label} texts for the controls")
    sizes = np.abs(control.change[label])
    high = max(float(sizes[upper_quantile(sizes)]), 1.0 / count)
    return Value(abs(pairs_of(reading, arm, label, first=count).change) / high)


def rising_steps(rates: Sequence[float]) -> Value:
    """Return the share of neighbouring doses, weakest first, between which the rate does not fall."""
    steps = [after >= before for before, after in pairwise(rates)]
    return Value(sum(steps) / len(steps)) if steps else Value.unknown("one dose has no neighbour")


def degenerate_count(tables: Sequence[Answered]) -> tuple[int, int]:
    """Return how many answers are degenerate, of how many."""
    return int(sum(table.degenerate.sum() for table in tables)), sum(len(table.degenerate) for table in tables)
