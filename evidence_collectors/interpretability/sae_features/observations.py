"""Which observations does a reading of sparse features give, and in which words?"""

from __future__ import annotations

from dossier import ranking
from dossier.comparison import clopper_pearson
from dossier.model import Null, Observation
from evidence_collectors.interpretability.sae_features import changes, effects, estimates, health
from evidence_collectors.interpretability.sae_features.estimates import Quantity, quantiles
from evidence_collectors.interpretability.sae_features.parameters import RECALL_FPR, SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.scores import (
    NO_FEATURE,
    NO_RANDOM,
    Reasons,
    Scores,
    by_label,
    few,
    scores,
)
from evidence_collectors.interpretability.sae_features.trials import Table, Trials
from evidence_collectors.interpretability.sae_features.writing import (
    ALONE,
    DELONG,
    INDEPENDENT,
    SPLIT,
    WIDER,
    Facts,
    as_null,
    write,
)

SET = ("auroc", "auroc_margin", "transfer_auroc", "transfer_auroc_margin", "effect", "recall")
PROBE = ("auroc", "transfer_auroc", "gap", "transfer_gap")
DENSE = "Kantamneni et al. 2025 (arXiv:2502.16681): probes on sparse features seldom beat dense ones."


def quantities(params: SaeFeaturesParameters) -> tuple[str, ...]:
    """Return the ids of the observations, in order."""
    return (
        *(f"health.{name}" for name in health.QUANTITIES),
        *(f"set.{name}" for name in SET),
        *(f"probe.{name}" for name in PROBE),
        "twin.auroc",
        *effects.quantities(params),
        *changes.quantities(params),
    )


def observations(trials: Trials, params: SaeFeaturesParameters, seed: str) -> tuple[Observation, ...]:
    """Return the observations, in the order of `quantities`."""
    unusable = health.unusable(trials, params)
    test, transfer = (scores(trials, split, params, unusable, seed) for split in SPLIT)
    found = [
        *health.observations(trials, params),
        *_set("auroc", "auroc_margin", test, params),
        *_set("transfer_auroc", "transfer_auroc_margin", transfer, params),
        _effect(test, params),
        _recall(trials.tables["read"], params, unusable),
        *_probe("", test, params),
        *_probe("transfer_", transfer, params),
        _twin(trials.tables["twin"].where(split="test"), params, unusable),
        *effects.observations(trials, test, params, unusable, seed),
        *changes.observations(trials, params, unusable, seed),
    ]
    by_id = {one.id: one for one in found}
    return tuple(by_id[name] for name in quantities(params))


def _set(area: str, margin: str, found: Scores, params: SaeFeaturesParameters) -> list[Observation]:
    strictest, facts = found.strictest, dict(found.facts)
    if not found.chosen_reasons and found.split == "test":
        above, below = found.positive.column("set"), found.negative.column("set")
        facts |= quantiles(above, "positive") | quantiles(below, "negative")
        facts["axis"] = "sum of the chosen features, each in standard deviations where it was chosen"
    for name, null in zip(("random_sets", "permuted", "twin"), found.nulls, strict=False):
        facts |= {f"{name}_low": null.low, f"{name}_middle": null.middle, f"{name}_strict": null.strict}
    distance = Quantity(None, reasons=found.null_reasons)
    if strictest is not None:
        distance = estimates.margin(found.chosen, strictest)
    return [
        write(
            f"set.{area}",
            "How often the sum of the chosen features is higher for a positive than for a negative item, on "
            f"{SPLIT[found.split]}; chosen on other items.",
            "auroc",
            found.chosen,
            params,
            n=found.n,
            method="AUROC of the sum of the features at the position, each in units of its deviation where it was chosen",
            interval=DELONG,
            null=as_null(strictest),
            facts=facts,
            limits=(ALONE, INDEPENDENT),
        ),
        write(
            f"set.{margin}",
            f"AUROC of the chosen features less that of the strictest null, on {SPLIT[found.split]}.",
            "proportion_difference",
            distance,
            params,
            n=found.n,
            method="AUROC less the largest of: random sets (95th percentile), permuted labels (95th percentile), random "
            "weights",
            interval="recovery of variance estimates, the two taken as independent",
            null=Null(what="nothing found beyond the strictest null", estimate=0.0) if strictest else None,
            facts={**found.facts, "strictest": strictest.what if strictest else None},
            limits=(INDEPENDENT, "At 0 or below, random features tell the classes apart as well as the chosen ones."),
        ),
    ]


def _effect(found: Scores, params: SaeFeaturesParameters) -> Observation:
    quantity, facts = Quantity(None, reasons=found.chosen_reasons), dict(found.facts)
    if not found.chosen_reasons:
        above, below = found.positive.column("set"), found.negative.column("set")
        clusters = (found.positive.clusters(), found.negative.clusters())
        quantity = estimates.effect(above, below, clusters, scale=1.0, level=params.interval_level)
        facts |= effects.hedges(above, below)
    return write(
        "set.effect",
        "Mean of the summed chosen features over positives less that over negatives of the split test, each in its standard "
        "deviations over the items of both labels where it was chosen.",
        "ratio",
        quantity,
        params,
        n=found.n,
        method="difference of means; Hedges' g of the sum on these items is in the facts",
        interval=WIDER,
        null=Null(what="no difference", estimate=0.0) if quantity.estimate is not None else None,
        facts=facts,
        limits=(effects.AT_MOST_TWO,),
    )


def _recall(read: Table, params: SaeFeaturesParameters, unusable: Reasons) -> Observation:
    positive, controls = read.where(label="positive", split="test"), read.where(control=True)
    n, m = len(positive.rows), len(controls.rows)
    reasons = (*unusable, *((read.problem,) if read.problem else ()))
    if not params.control_set:
        reasons += ("no control set was planned",)
    elif m < params.minimum_controls:
        reasons += (f"only {m} control items; {params.minimum_controls} are needed to set a threshold at 1 in 100",)
    if n < params.minimum_items:
        reasons += (f"only {n} positive items; {params.minimum_items} are needed",)
    if any(row.get("set") is None for row in positive.rows):
        reasons += (NO_FEATURE,)
    random = positive.matrix("random"), controls.matrix("random")
    if not reasons and (random[0] is None or random[1] is None):
        reasons += (NO_RANDOM,)
    quantity, null = Quantity(None, reasons=reasons), None
    facts: Facts = {"positives": n, "controls": m}
    if not reasons:
        frozen = ranking.recall_at_fpr(positive.column("set"), controls.column("set"), fpr=RECALL_FPR)
        assert frozen is not None
        quantity = Quantity(frozen.recall, clopper_pearson(frozen.hits, frozen.positives, params.interval_level))
        low, high = clopper_pearson(frozen.false_alarms, frozen.controls, params.interval_level)
        null = as_null(estimates.random_recalls(*random, fpr=RECALL_FPR))  # type: ignore[arg-type]
        facts |= {"threshold": frozen.threshold, "false_alarms": frozen.false_alarms}
        facts |= {"false_alarm_rate_low": low, "false_alarm_rate_high": high}
    return write(
        "set.recall",
        "Share of positives of the split test flagged at the threshold that flags one control item in a hundred.",
        "proportion",
        quantity,
        params,
        n=(n, "positive items of the split test"),
        method="threshold frozen on the control set; how many new controls it flags is in the facts, with an exact interval",
        interval="Clopper-Pearson",
        null=null,
        facts=facts,
        limits=("Holds for control items like those of the named set.",),
    )


def _probe(prefix: str, found: Scores, params: SaeFeaturesParameters) -> list[Observation]:
    return [
        write(
            f"probe.{prefix}auroc",
            f"AUROC of a dense linear classifier on the same activations, on {SPLIT[found.split]}; fitted on other items.",
            "auroc",
            found.probe,
            params,
            n=found.n,
            method=f"logistic regression on standardised activations, ridge {params.ridge:g}",
            interval=DELONG,
            facts=found.facts,
            limits=(ALONE, INDEPENDENT, DENSE),
        ),
        write(
            f"probe.{prefix}gap",
            f"AUROC of the dense linear classifier less that of the chosen features, on {SPLIT[found.split]}.",
            "proportion_difference",
            estimates.minus(found.probe, found.chosen),
            params,
            n=found.n,
            method="difference of the two AUROC",
            interval="recovery of variance estimates, the two taken as independent",
            facts=found.facts,
            limits=(INDEPENDENT, DENSE),
        ),
    ]


def _twin(twin: Table, params: SaeFeaturesParameters, unusable: Reasons) -> Observation:
    reasons = (*unusable, *few(twin, params))
    quantity, n = Quantity(None, reasons=reasons), sum(len(half) for half in (by_label(twin, "set")))
    facts: Facts = {}
    if not reasons:
        quantity = estimates.area(*by_label(twin, "set"), level=params.interval_level)
        facts = {"probe_auroc": ranking.auroc(*by_label(twin, "probe"))}
    return write(
        "twin.auroc",
        "AUROC of the same pipeline on a model of this architecture with random weights: what the words alone give away.",
        "auroc",
        quantity,
        params,
        n=(n, f"{SPLIT['test']}, of both labels"),
        method="features chosen anew, on activations scaled to the subject's mean norm",
        interval=DELONG,
        null=Null(what="no information", estimate=0.5) if not reasons else None,
        facts=facts,
        limits=(
            "Heap et al. 2025 (arXiv:2501.17727): by some measures dictionaries read random models nearly as well.",
        ),
    )
