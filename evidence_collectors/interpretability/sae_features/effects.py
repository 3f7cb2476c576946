"""What does each chosen feature do, and what happens to the behaviour when their contribution is taken away?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dossier import ranking
from dossier.comparison import clopper_pearson
from dossier.model import Null, Observation
from dossier.probing import max_t_permutation
from evidence_collectors.interpretability.sae_features import estimates as estimates
from evidence_collectors.interpretability.sae_features.estimates import Floats, Quantity, quantiles
from evidence_collectors.interpretability.sae_features.parameters import SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.scores import NO_RANDOM, Reasons, Scores
from evidence_collectors.interpretability.sae_features.trials import Table, Trials
from evidence_collectors.interpretability.sae_features.writing import (
    ALONE,
    CLUSTERED,
    DELONG,
    INDEPENDENT,
    RANKED,
    SPLIT,
    WIDER,
    Facts,
    write,
)

ABLATION = ("fall", "fall_margin", "transfer_fall", "transfer_fall_margin")
FEATURE = ("auroc", "firing_rate", "effect")
FALLS = "fall of the behaviour's log-odds, in nats: by text, and below it the means of random feature sets"
AT_MOST_TWO = (
    "In these units a feature that tells classes of one size apart without fail reaches about 2; the deviation is that "
    "of the items that chose, and is taken as it is."
)
NAMED = ("feature", "correlation", "share", "firing_rate", "mean_when_active", "largest", "decoder_norm")


def quantities(params: SaeFeaturesParameters) -> tuple[str, ...]:
    """Return the ids of these observations, in order."""
    return (
        *(f"ablation.{name}" for name in (ABLATION if params.behaviour_tokens else ())),
        *(f"feature-{place + 1}.{name}" for place in range(params.top_k) for name in FEATURE),
    )


def observations(
    trials: Trials, test: Scores, params: SaeFeaturesParameters, unusable: Reasons, seed: str
) -> list[Observation]:
    """Return these observations, in any order."""
    found: list[Observation] = []
    for split in SPLIT if params.behaviour_tokens else ():
        ablate, plain = (trials.tables[arm].where(split=split) for arm in ("ablate", "behaviour"))
        found += _ablation(ablate, plain, split, params, unusable, seed)
    p_values = _p_values(test, params, seed)
    for place in range(params.top_k):
        found += _feature(place, trials.selected[place], test, p_values, params)
    return found


# --- the set, taken away -------------------------------------------------------------------------------------------


def _ablation(
    table: Table, plain: Table, split: str, params: SaeFeaturesParameters, unusable: Reasons, seed: str
) -> list[Observation]:
    n, where = len(table.rows), f"positive {SPLIT[split]}"
    reasons = (*unusable, *((table.problem,) if table.problem else ()))
    if n < params.minimum_items:
        reasons += (f"only {n} positive items; {params.minimum_items} are needed",)
    effect = margin = Quantity(None, reasons=reasons)
    null: Null | None = None
    facts: Facts = {}
    spread: Facts = {}  # for a figure: falls by item, and mean falls of the random sets
    if not reasons:
        before, after, random = table.column("before"), table.column("after"), table.matrix("random")
        clusters, level = table.clusters(), params.interval_level
        effect = estimates.mean(before - after, clusters, level=level)
        facts = {"before": float(before.mean()), "after": float(after.mean())}
        spread = {"axis": FALLS, **quantiles(before - after, "positive")} if split == "test" else {}
        lift, unshown = _lift(before, clusters, plain, params)
        margin = Quantity(None, reasons=(*unshown, *(() if random is not None else (NO_RANDOM,))))
        facts["lift"] = lift.estimate
        if random is not None:
            falls = (before[:, None] - random).mean(axis=0)
            if not unshown:
                margin = estimates.strict_margin(before, after, random, clusters, level=level, seed=seed)
            null = _fall_of_random(falls)
            facts["random_sets"] = int(falls.size)
            spread |= quantiles(falls, "null") if split == "test" else {}
    prefix = "transfer_" if split == "transfer" else ""
    return [
        write(
            f"ablation.{prefix}fall",
            "Mean fall of the log-odds that the next token is a behaviour token, when what the chosen features contribute is "
            f"taken away at every position; {where}.",
            "nats",
            effect,
            params,
            n=(n, where),
            method="log-odds before less log-odds after x <- x - sum of a_f(x) W_dec[f] over the set",
            interval=CLUSTERED,
            null=null,
            facts={**facts, **spread},
            limits=(
                "The first token stands for the behaviour; no text is judged.",
                "Other features may carry the same content and take over; a small fall does not show disuse.",
            ),
        ),
        write(
            f"ablation.{prefix}fall_margin",
            f"That fall, less the fall by the random feature set at the 95th percentile where that one falls at all; {where}.",
            "nats",
            margin,
            params,
            n=(n, where),
            method="paired difference per item; the random set is fixed by its rank among all",
            interval=RANKED,
            null=Null(what="no more than random features", estimate=0.0) if null is not None else None,
            facts=facts,
            limits=(
                "Chosen features go with one direction and random ones with many: taking that direction away may do by chance "
                "what random sets do not.",
            ),
        ),
    ]


def _lift(
    before: Floats, clusters: Sequence[str], plain: Table, params: SaeFeaturesParameters
) -> tuple[Quantity, Reasons]:
    """Return how much likelier the behaviour is on positive than on negative items, and why no feature can carry that.

    Where positives show no more of it than negatives, nothing of the concept is there to be taken away.
    """
    if plain.problem:
        return Quantity(None), (plain.problem,)
    level = params.interval_level
    lift = estimates.minus(
        estimates.mean(before, clusters, level=level),
        estimates.mean(plain.column("before"), plain.clusters(), level=level),
    )
    if lift.limits is None:
        return lift, lift.reasons
    if lift.limits[0] >= params.minimum_lift:
        return lift, ()
    return lift, (
        f"the behaviour's log-odds are {lift.estimate:.2g} [{lift.limits[0]:.2g}, {lift.limits[1]:.2g}] nats higher on "
        f"positive than on negative items; at least {params.minimum_lift:g} are needed for features to carry it",
    )


def _fall_of_random(falls: Floats) -> Null:
    low, middle, high = (float(np.quantile(falls, share)) for share in (0.05, 0.5, 0.95))
    return Null(
        what=f"{falls.size} random feature sets of like firing rate and strength", estimate=middle, low=low, high=high
    )


# --- one feature ---------------------------------------------------------------------------------------------------


def _feature(
    place: int, chosen: Mapping[str, Any] | None, test: Scores, p_values: Floats | None, params: SaeFeaturesParameters
) -> list[Observation]:
    reasons, name = test.chosen_reasons, f"feature-{place + 1}"
    if chosen is None and not reasons:
        reasons = (f"only {test.facts['features']} features fire more on positives",)
    area = rate = effect = Quantity(None, reasons=reasons)
    null: Null | None = None
    facts = _about(chosen)
    sides: tuple[Floats, ...] = ()
    if not reasons:
        above, below = sides = tuple(_column(table, place) for table in (test.positive, test.negative))
        level = params.interval_level
        area = estimates.area(above, below, level=level)
        assert chosen is not None
        clusters = (test.positive.clusters(), test.negative.clusters())
        effect = estimates.effect(above, below, clusters, scale=float(chosen["scale"]), level=level)
        hits, others = int((above > 0.0).sum()), int((below > 0.0).sum())
        rate = Quantity(hits / above.size, clopper_pearson(hits, above.size, level))
        low, high = clopper_pearson(others, below.size, level)
        null = Null(what=f"the same on {below.size} negative items", estimate=others / below.size, low=low, high=high)
        facts["p_value_of_family"] = None if p_values is None else float(p_values[place])
    positives = (len(test.positive.rows), "positive items of the split test")
    return [
        write(
            f"{name}.auroc",
            "How often this one feature is higher for a positive than for a negative item of the split test.",
            "auroc",
            area,
            params,
            n=test.n,
            method="AUROC of the feature's value at the position; p-value by max-T permutation over the chosen features",
            interval=DELONG,
            null=Null(what="permuted labels", estimate=0.5) if not reasons else None,
            facts=facts,
            limits=(ALONE, INDEPENDENT),
        ),
        write(
            f"{name}.firing_rate",
            "Share of positive items of the split test on which this feature is active at the position.",
            "proportion",
            rate,
            params,
            n=positives,
            method="active / all",
            interval="Clopper-Pearson",
            null=null,
            facts=facts,
        ),
        write(
            f"{name}.effect",
            "Mean of this feature over positives less that over negatives of the split test, in its standard deviations over "
            "the items of both labels where it was chosen.",
            "ratio",
            effect,
            params,
            n=test.n,
            method="difference of means / deviation where chosen; Hedges' g on these items is in the facts",
            interval=WIDER,
            null=Null(what="no difference", estimate=0.0) if effect.estimate is not None else None,
            facts={**facts, **hedges(*sides)} if effect.estimate is not None else facts,
            limits=(AT_MOST_TWO,),
        ),
    ]


def hedges(positive: Floats, negative: Floats) -> Facts:
    """Return Hedges' g as a fact: in deviations of the same items its error is not known well enough for an interval."""
    found = ranking.difference_of_means_effect(positive, negative)
    return {"hedges_g": None if found is None else found.hedges_g}


def _p_values(test: Scores, params: SaeFeaturesParameters, seed: str) -> Floats | None:
    if test.chosen_reasons:
        return None
    above, below = (table.matrix("features") for table in (test.positive, test.negative))
    assert above is not None
    assert below is not None
    labels = np.r_[np.ones(len(above)), np.zeros(len(below))]
    scan = max_t_permutation(np.vstack([above, below]), labels, seed=seed, permutations=params.permutations)
    return None if scan is None else scan.p_values


def _column(table: Table, place: int) -> Floats:
    values = table.matrix("features")
    assert values is not None
    return values[:, place]


def _about(chosen: Mapping[str, Any] | None) -> Facts:
    """Return what is known of a chosen feature: measured where it was chosen; its strongest texts by digest."""
    if chosen is None:
        return {}
    facts: Facts = {name if name == "feature" else f"choosing_{name}": chosen.get(name) for name in NAMED}
    facts["direct_logit_tokens"] = str(chosen.get("tokens", ""))
    for rank, digest in enumerate(chosen.get("texts") or ()):
        facts[f"top_text_{rank + 1}"] = str(digest)
    return facts
