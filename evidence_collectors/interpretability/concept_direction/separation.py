"""How well do direction and probe tell the classes apart, beyond what nothing would, and at a frozen threshold?

Every AUROC stands beside the hardest of its nulls; the margin is what is left above it, and that is what a criterion
should read. AUROC alone says little: where one component holds nearly all variance, any direction separates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dossier.comparison import clopper_pearson
from dossier.model import Null, Observation
from dossier.ranking import FrozenThreshold, auroc, auroc_interval, recall_at_fpr, recalls_at_fpr
from dossier.statistics import Limits
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.reading import Reading, Scored
from evidence_collectors.interpretability.quantities import (
    Array,
    Facts,
    Value,
    minus,
    quantiles,
    upper_quantile,
    write,
)

READERS = {"direction": "projection on the direction", "probe": "score of the logistic probe"}
AXES = {
    "direction": "projection on the direction, in the unit of the activations",
    "probe": "log-odds that the probe gives for the concept, in nats",
}
SPLIT_WORDS = {"test": "held-out texts of the families it was fitted on", "transfer": "texts of families it never saw"}
NULL_WORDS = {
    "null_random_q95": "the 95th percentile over directions drawn evenly from the sphere, turned as the training labels say",
    "null_shuffled_q95": "the 95th percentile over the same fit to permuted training labels, turned as the true ones say",
    "null_twin_largest": "the largest over models with random weights on which the same was fitted",
}
TEXTS = "positive and negative texts"
POSITIVE = "positive texts"
AREA_METHOD = "DeLong on the logit scale, widened by Wilson's interval at the effective size"
NOT_CAUSAL = "Separating texts is not using the concept; only interventions speak to that."
INDEPENDENT = "Texts are taken as independent: texts that share a template or an object make the interval too narrow."
NULLS_DRAWN = (
    "The nulls are themselves drawn: their own number is in the facts, and their interval is that of one of them."
)
NO_INFORMATION = (
    "Flagged: directions with nothing to find separate these texts as well, so this AUROC carries no information."
)
RECALL_OF_NULLS = (
    "Flagged: directions with nothing to find recall as many of these texts, so this recall carries no information."
)
FROZEN = "The threshold is frozen; how many new controls it flags is in the facts, with an exact interval."
CONTROLS_PER_FALSE_ALARM = (
    3.0  # rule of three: without a false alarm among 3 / rate controls, 95 % say at most that rate
)


@dataclass(frozen=True)
class Area:
    """An AUROC, its margin over the hardest null, that null and the facts of all of them."""

    value: Value
    margin: Value
    null: Null | None
    facts: Facts

    @property
    def flags(self) -> tuple[str, ...]:
        """What must be said about it."""
        return (NO_INFORMATION,) if self.margin.estimate is not None and self.margin.estimate <= 0.0 else ()


def separation(
    reading: Reading, params: DirectionParameters, split: str, reader: str, *, reasons: tuple[str, ...]
) -> Iterator[Observation]:
    """Yield AUROC and margin of one reader on one split; ``reasons`` say why there is no direction to report on."""
    level, texts = params.interval_level, reading.texts
    reasons = reasons + too_few(reading, params, split)
    area = Area(Value.unknown(*reasons), Value.unknown(*reasons), None, {})
    if not reasons:
        area = _area(reading, params, split, reader)
    counts = (sum(texts[(split, label)].count for label in ("positive", "negative")), TEXTS)
    yield write(
        f"{split}.{reader}_auroc",
        f"How often a positive text outranks a negative one by the {READERS[reader]}; {SPLIT_WORDS[split]}.",
        area.value,
        unit="auroc",
        n=counts,
        method="share of pairs in order, ties half",
        interval=(AREA_METHOD, level),
        null=area.null,
        facts=area.facts,
        limits=(NOT_CAUSAL, INDEPENDENT, *area.flags),
    )
    yield write(
        f"{split}.{reader}_margin",
        f"How far the AUROC of the {READERS[reader]} lies above the hardest of its nulls; {SPLIT_WORDS[split]}.",
        area.margin,
        unit="proportion_difference",
        n=counts,
        method="AUROC minus the largest of: the 95th percentile over random directions, the same over permuted labels, the "
        "largest over models with random weights",
        interval=(f"recovered from both AUROCs' intervals, taken as independent; each: {AREA_METHOD}", level),
        facts={name: value for name, value in area.facts.items() if name.startswith("null_")},
        limits=(NOT_CAUSAL, INDEPENDENT, NULLS_DRAWN, *area.flags),
    )


def recall(
    reading: Reading, params: DirectionParameters, split: str, reader: str, *, reasons: tuple[str, ...]
) -> Observation:
    """Return the share of positive texts above the threshold that the control set froze."""
    positive, control = reading.texts[(split, "positive")], reading.texts[("control", "")]
    reasons = reasons + too_few(reading, params, split, labels=("positive",)) + _too_few_controls(control, params)
    value, facts = Value.unknown(*reasons), _control_facts(control, params)
    null: Null | None = None
    flags: tuple[str, ...] = ()
    if not reasons:
        found = recall_at_fpr(positive.one(reader), control.one(reader), fpr=params.recall_fpr)
        assert found is not None, "neither group is empty"
        value = Value(found.recall, clopper_pearson(found.hits, found.positives, params.interval_level))
        low, high = clopper_pearson(found.false_alarms, found.controls, params.interval_level)
        null, nulls = _recall_null(reading, params, split, reader)
        flags = (RECALL_OF_NULLS,) if value.estimate is not None and value.estimate <= null.estimate else ()
        facts = {
            **facts,
            **nulls,
            "threshold": found.threshold,
            "false_alarms": found.false_alarms,
            "false_alarm_rate_low": low,
            "false_alarm_rate_high": high,
        }
    return write(
        f"{split}.{reader}_recall",
        f"Share of positive texts whose {READERS[reader]} lies above a threshold that flags at most "
        f"{params.recall_fpr:.1%} of the named control set; {SPLIT_WORDS[split]}.",
        value,
        unit="proportion",
        n=(positive.count, POSITIVE),
        method="texts above the threshold / texts",
        interval=("Clopper-Pearson, given the threshold", params.interval_level),
        null=null,
        facts=facts,
        limits=(INDEPENDENT, FROZEN, *flags),
    )


def too_few(
    reading: Reading, params: DirectionParameters, split: str, *, labels: tuple[str, ...] = ("positive", "negative")
) -> tuple[str, ...]:
    """Return why the texts of a split do not suffice, nothing where they do."""
    reasons = []
    for label in labels:
        own = reading.texts[(split, label)]
        if own.failed:
            reasons.append(f"{own.failed} texts could not be read: {own.why}")
        elif own.count < params.minimum_items:
            reasons.append(f"{own.count} {label} texts in the split {split!r}; {params.minimum_items} are needed")
    return tuple(dict.fromkeys(reasons))


def _too_few_controls(control: Scored, params: DirectionParameters) -> tuple[str, ...]:
    if params.control_set is None:
        return ("the plan names no control set to freeze a threshold on",)
    needed = controls_needed(params.recall_fpr)
    if control.count >= needed:
        return ()
    return (
        f"{control.count} controls in the set {params.control_set!r}; with fewer than {needed} even no false alarm leaves "
        f"the rate's 95 % upper limit above {params.recall_fpr:.1%}",
    )


def controls_needed(rate: float) -> int:
    """Return how many controls a threshold at this rate of false alarms needs."""
    return int(CONTROLS_PER_FALSE_ALARM / rate + 0.5)


def _control_facts(control: Scored, params: DirectionParameters) -> dict[str, int | float | str | None]:
    return {
        "control_set": params.control_set,
        "controls": control.count,
        "controls_needed": controls_needed(params.recall_fpr),
    }


def _area(reading: Reading, params: DirectionParameters, split: str, reader: str) -> Area:
    level = params.interval_level
    up, low = (reading.texts[(split, label)].one(reader) for label in ("positive", "negative"))
    value, limits = _auroc(up, low, level)
    nulls, reason = _nulls(reading, split, reader, level)
    facts: dict[str, int | float | str | None] = {"axis": AXES[reader]}
    facts |= {**quantiles("positive", up), **quantiles("negative", low)}
    facts |= {name: estimate for name, (estimate, _) in nulls.items()}
    facts |= {
        "null_random_count": params.random_directions,
        "null_shuffled_count": params.shuffles,
        "null_twin_count": params.twins if not reason else 0,
    }
    hardest = max(nulls, key=lambda name: nulls[name][0])
    estimate, (null_low, null_high) = nulls[hardest]
    return Area(
        value=Value(value, limits),
        margin=Value.unknown(reason) if reason else minus((value, limits), nulls[hardest]),
        null=Null(what=NULL_WORDS[hardest], estimate=estimate, low=null_low, high=null_high),
        facts=facts,
    )


def _recall_null(
    reading: Reading, params: DirectionParameters, split: str, reader: str
) -> tuple[Null, dict[str, int | float | str | None]]:
    """Return the hardest null of a recall, and all of them: each null direction at the threshold its own controls freeze."""
    prefix = "probe_" if reader == "probe" else ""
    texts, twins = reading.texts, reading.twins
    columns = {
        f"null_{name}_q95": (texts[(split, "positive")], texts[("control", "")], f"{prefix}{name}", 0.95)
        for name in ("random", "shuffled")
    }
    if not twins[(split, "positive")].failed and twins[(split, "positive")].count:
        columns["null_twin_largest"] = (twins[(split, "positive")], twins[("control", "")], reader, 1.0)
    found: dict[str, FrozenThreshold] = {}
    for null, (positive, control, name, share) in columns.items():
        frozen = recalls_at_fpr(positive.scores[name], control.scores[name], fpr=params.recall_fpr)
        found[null] = frozen[upper_quantile([one.recall for one in frozen], share)]
    hardest = max(found, key=lambda name: found[name].recall)
    one = found[hardest]
    low, high = clopper_pearson(one.hits, one.positives, params.interval_level)
    what = f"{NULL_WORDS[hardest]}; each at a threshold frozen alike on the control set"
    facts: dict[str, int | float | str | None] = {name: one.recall for name, one in found.items()}
    return Null(what=what, estimate=one.recall, low=low, high=high), facts


def _nulls(reading: Reading, split: str, reader: str, level: float) -> tuple[dict[str, tuple[float, Limits]], str]:
    """Return a reader's nulls with their intervals, and why the twins are missing, "" where they are there."""
    prefix = "probe_" if reader == "probe" else ""
    texts = [reading.texts[(split, label)] for label in ("positive", "negative")]
    found = {f"null_{name}_q95": _high(texts, f"{prefix}{name}", level, share=0.95) for name in ("random", "shuffled")}
    twins = [reading.twins[(split, label)] for label in ("positive", "negative")]
    if twins[0].failed or not all(scored.count for scored in twins):
        return found, f"models with random weights could not be read: {twins[0].why}"
    found["null_twin_largest"] = _high(twins, reader, level, share=1.0)
    return found, ""


def _high(texts: list[Scored], name: str, level: float, *, share: float) -> tuple[float, Limits]:
    """Return the AUROC, over the columns of a reading, that a share of them do not exceed, with its interval."""
    up, low = (scored.scores[name] for scored in texts)
    areas = [auroc(up[:, column], low[:, column]) or 0.0 for column in range(up.shape[1])]
    place = upper_quantile(areas, share)
    return _auroc(up[:, place], low[:, place], level)


def _auroc(positive: Array, negative: Array, level: float) -> tuple[float, Limits]:
    value, limits = auroc(positive, negative), auroc_interval(positive, negative, level=level)
    assert value is not None, "the caller has texts of both classes"
    assert limits is not None
    return value, limits
