"""What do the chosen features, the dense probe and the nulls score on one split?"""

from __future__ import annotations

from dataclasses import dataclass

from evidence_collectors.interpretability.sae_features import estimates as estimates
from evidence_collectors.interpretability.sae_features.estimates import Floats, NullReading, Quantity
from evidence_collectors.interpretability.sae_features.parameters import SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.trials import Table, Trials
from evidence_collectors.interpretability.sae_features.writing import SPLIT, Facts

Reasons = tuple[str, ...]

NO_FEATURE = "no feature fires more on positives than on negatives where features are chosen"
NO_RANDOM = "too few other features are alive to draw random sets of like firing rate and strength from"


@dataclass(frozen=True, eq=False)
class Scores:
    """One split. ``reasons`` say why nothing can be compared, ``chosen_reasons`` why not the chosen features.

    ``nulls`` are, in order: random sets, permuted labels, random weights; empty for the reasons in ``null_reasons``.
    """

    split: str
    positive: Table
    negative: Table
    reasons: Reasons
    chosen_reasons: Reasons
    chosen: Quantity
    probe: Quantity
    nulls: tuple[NullReading, ...]
    null_reasons: Reasons
    facts: Facts

    @property
    def n(self) -> tuple[int, str]:
        """How many items there are, and what that counts."""
        return len(self.positive.rows) + len(self.negative.rows), f"{SPLIT[self.split]}, of both labels"

    @property
    def strictest(self) -> NullReading | None:
        """The null that is hardest to beat."""
        return max(self.nulls, key=lambda null: null.strict) if self.nulls else None


def scores(trials: Trials, split: str, params: SaeFeaturesParameters, unusable: Reasons, seed: str) -> Scores:
    """Return the scores of a split; ``unusable`` says why the reading as a whole cannot be used."""
    read = trials.tables["read"].where(split=split)
    positive, negative = (read.where(label=label) for label in ("positive", "negative"))
    found = sum(1 for one in trials.selected if one is not None)
    reasons = (*unusable, *few(read, params))
    chosen_reasons = reasons if found else (*reasons, NO_FEATURE)
    level = params.interval_level
    nulls, null_reasons = _nulls(trials, split, params, chosen_reasons, seed)
    subject = trials.single("subject") or {}
    return Scores(
        split=split,
        positive=positive,
        negative=negative,
        reasons=reasons,
        chosen_reasons=chosen_reasons,
        chosen=Quantity(None, reasons=chosen_reasons)
        if chosen_reasons
        else estimates.area(*by_label(read, "set"), level=level),
        probe=Quantity(None, reasons=reasons) if reasons else estimates.area(*by_label(read, "probe"), level=level),
        nulls=nulls,
        null_reasons=null_reasons,
        facts={
            "positives": len(positive.rows),
            "negatives": len(negative.rows),
            "features": found,
            "first_component_share": subject.get("first_component_share"),
        },
    )


def few(table: Table, params: SaeFeaturesParameters) -> Reasons:
    """Return why a split cannot be compared: its trials failed, or a class has too few items."""
    if table.problem:
        return (table.problem,)
    counts = {label: len(table.where(label=label).rows) for label in ("positive", "negative")}
    return tuple(
        f"only {count} {label} items; {params.minimum_items} are needed"
        for label, count in counts.items()
        if count < params.minimum_items
    )


def by_label(table: Table, name: str) -> tuple[Floats, Floats]:
    """Return a column of the positives and of the negatives."""
    return table.where(label="positive").column(name), table.where(label="negative").column(name)


def _nulls(
    trials: Trials, split: str, params: SaeFeaturesParameters, reasons: Reasons, seed: str
) -> tuple[tuple[NullReading, ...], Reasons]:
    """Return the three nulls, or why one is missing: an estimate without all of them stands beside none."""
    if reasons:
        return (), reasons
    read, twin = (trials.tables[arm].where(split=split) for arm in ("read", "twin"))
    random = [read.where(label=label).matrix("random") for label in ("positive", "negative")]
    if random[0] is None or random[1] is None:
        return (), (NO_RANDOM,)
    if few(twin, params):
        return (), tuple(f"random weights: {reason}" for reason in few(twin, params))
    level = params.interval_level
    own = estimates.area(*by_label(twin, "set"), level=level)
    assert own.estimate is not None
    assert own.limits is not None
    return (
        estimates.random_sets(random[0], random[1], level=level),
        estimates.permuted(*by_label(read, "set"), seed=seed, permutations=params.permutations),
        NullReading("the same pipeline on random weights", own.limits[0], own.estimate, own.estimate, own.limits),
    ), ()
