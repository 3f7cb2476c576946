"""Which observations does an intervention give, and in which words?

A group of observations for every arm: `ablate`, and `add` and `clamp` with a sign and the number of the dose. A dose's
strength stands in the facts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dossier.comparison import clopper_pearson
from dossier.model import Null, Observation
from dossier.statistics import wilson
from evidence_collectors.interpretability.causal_intervention import detectors as detectors
from evidence_collectors.interpretability.causal_intervention.costs import (
    capability,
    degeneration,
    dose,
    parity,
    rising,
)
from evidence_collectors.interpretability.causal_intervention.estimates import (
    LEAST_DISCORDANT,
    adjusted,
    change,
    pairs_of,
    ratio,
    readable,
)
from evidence_collectors.interpretability.causal_intervention.parameters import InterventionParameters
from evidence_collectors.interpretability.causal_intervention.reading import Control, Reading
from evidence_collectors.interpretability.causal_intervention.trials import CONTROLS, LABELS, PLAIN, Arm, arms
from evidence_collectors.interpretability.quantities import (
    T_METHOD,
    Facts,
    Value,
    mean_value,
    random_null,
    upper_quantile,
    write,
)

PHRASES = "The behaviour is read by literal phrases: a paraphrase nobody listed is missed, a quoted phrase counts."
SATURATED = (
    "A push that breaks the model moves the rate as well: read it with the degeneration rate and the capability change."
)
INDEPENDENT = "Texts are taken as independent: texts that share a template or an object make the interval too narrow."
ONE_DIRECTION = "A behaviour may hang on several directions; what one of them leaves unchanged may hang on another."
POWER = (
    f"Smallest detectable: for the exact test, if the answer differs on at least {LEAST_DISCORDANT:.0%} of the texts."
)
HOLM = (
    "Bonett and Price's adjusted Wald interval for pairs, reaching 0 unless the exact McNemar test is significant after Holm "
    "over all arms"
)
PER_ARM = ("rate", "change", "ratio", "log_odds")


def quantities(params: InterventionParameters) -> tuple[str, ...]:
    """Return the ids of the observations, in order."""
    names = [f"baseline.rate_{label}" for label in LABELS] + ["baseline.degeneration"]
    for arm in arms(params):
        names += [f"{arm.name}.{what}_{label}" for label in LABELS for what in PER_ARM]
        names += [f"{arm.name}.degeneration", f"{arm.name}.capability"]
    for operation in _graded(params):
        names += [f"dose.{operation}_rising_{label}" for label in LABELS]
    return (*names, "self_test.parity")


def observations(reading: Reading, params: InterventionParameters) -> tuple[Observation, ...]:
    """Return the observations of a reading, in the order of `quantities`."""
    found = [_rate(reading, params, PLAIN, label) for label in LABELS]
    found.append(degeneration(reading, params, PLAIN))
    planned = arms(params)
    holm = {label: adjusted(reading, planned, label, params.minimum_items) for label in LABELS}
    for arm in planned:
        for label in LABELS:
            found += _arm(reading, params, arm, label, holm[label][arm.name])
        found.append(degeneration(reading, params, arm.name))
        found.append(capability(reading, params, arm))
    for operation in _graded(params):
        found += [rising(reading, params, operation, label) for label in LABELS]
    found.append(parity(reading, params))
    return tuple(found)


def _graded(params: InterventionParameters) -> Iterator[str]:
    return (operation for operation in params.operations if operation != "ablate")


def _arm(
    reading: Reading, params: InterventionParameters, arm: Arm, label: str, holm_p: float
) -> Iterator[Observation]:
    reasons = readable(reading, arm.name, label, params.minimum_items)
    texts, level = _texts(reading, label), params.interval_level
    random = reading.controls.get(("random", arm.name))
    pairs = None if reasons else pairs_of(reading, arm.name, label)
    facts = dose(reading, arm)
    counts: Facts = {}
    if pairs is not None:
        counts = {"gained": pairs.gained, "lost": pairs.lost, "mcnemar_p": pairs.p_value, "holm_p": holm_p}
    yield _rate(reading, params, arm.name, label)
    yield write(
        f"{arm.name}.change_{label}",
        f"Change of the rate of the behaviour on {label} texts when the model is changed so: {_what(arm)}.",
        Value.unknown(*reasons) if pairs is None else change(pairs, holm_p, level),
        unit="proportion_difference",
        n=(texts, f"{label} texts, each asked plain and changed"),
        method="rate changed minus rate plain, over the same texts",
        interval=(HOLM, level),
        null=_null(random, label, "change"),
        facts={**facts, **counts, **_control_facts(reading, arm, label)},
        limits=(PHRASES, SATURATED, ONE_DIRECTION, INDEPENDENT, POWER),
        smallest=None if pairs is None else pairs.smallest_detectable(level),
    )
    no_controls = "this arm has no controls in this plan" if random is None else ""
    yield write(
        f"{arm.name}.ratio_{label}",
        f"Size of that change over the 95th percentile of those that random directions at equal norm make; {label} texts.",
        Value.unknown(*reasons, no_controls) if reasons or random is None else ratio(reading, random, arm.name, label),
        unit="ratio",
        n=(params.random_directions if random is not None else 0, "random directions"),
        method="absolute change / larger of the random directions' 95th percentile and one text, on the same texts",
        interval=("none", level),
        facts={**facts, **_control_facts(reading, arm, label)},
        limits=(
            "With one text in the denominator the ratio is the least it can be. Without an interval: where random directions "
            "change some texts, the strictest does so partly by chance, and the ratio reads too low.",
        ),
    )
    yield _log_odds(reading, params, arm, label, reasons)


def _rate(reading: Reading, params: InterventionParameters, arm: str, label: str) -> Observation:
    reasons = readable(reading, arm, label, params.minimum_items)
    table, plain = reading.answered[(arm, label)], reading.answered[(PLAIN, label)]
    value, null = Value.unknown(*reasons), None
    facts: dict[str, int | float | str | None] = {}
    if not reasons:
        hits, count = int(table.shown.sum()), len(table.shown)
        value = Value(hits / count, clopper_pearson(hits, count, params.interval_level))
        facts = {"shown": hits, "degenerate": int(table.degenerate.sum()), **detectors.facts(params.match)}
        if arm != PLAIN:
            before = float(plain.shown.mean())
            low, high = wilson(before, len(plain.shown), params.interval_level)
            null = Null(what="the unchanged model on the same texts", estimate=before, low=low, high=high)
    return write(
        f"{'baseline' if arm == PLAIN else arm}.rate_{label}",
        f"Rate of the behaviour on {label} texts: {detectors.CONSTRUCT[params.match]}.",
        value,
        unit="proportion",
        n=(len(table.shown), f"{label} texts"),
        method="answers that show it / answers, degenerate ones included",
        interval=("Clopper-Pearson", params.interval_level),
        null=null,
        facts=facts,
        limits=(PHRASES, INDEPENDENT),
    )


def _log_odds(
    reading: Reading, params: InterventionParameters, arm: Arm, label: str, reasons: tuple[str, ...]
) -> Observation:
    plain, changed = (reading.answered[(name, label)] for name in (PLAIN, arm.name))
    random = reading.controls.get(("random", arm.name))
    value = Value.unknown(*reasons)
    facts = dict(dose(reading, arm))
    if not reasons:
        value = mean_value(changed.log_odds - plain.log_odds, params.interval_level)
        facts |= {"plain": float(plain.log_odds.mean()), "changed": float(changed.log_odds.mean())}
    if random is not None and label in random.shift:
        sizes = np.abs(random.shift[label])
        high = float(sizes[upper_quantile(sizes)])
        facts["ratio_to_random_q95"] = abs(random.handle_shift[label]) / high if high > 0.0 else None
    return write(
        f"{arm.name}.log_odds_{label}",
        f"Change of the log-odds of the behaviour's first tokens on {label} texts when the model is changed so.",
        value,
        unit="nats",
        n=(len(plain.log_odds), f"{label} texts"),
        method="mean over texts of the log-odds changed minus plain, log p(R) - log(1 - p(R))",
        interval=(T_METHOD, params.interval_level),
        null=_null(random, label, "shift"),
        facts=facts,
        limits=("Only the first token of the answer is looked at.", INDEPENDENT),
    )


# --- words and controls --------------------------------------------------------------------------------------------


def _what(arm: Arm) -> str:
    if arm.strength is None:
        return "the direction is taken out everywhere"
    verb = "is added" if arm.operation == "add" else "has its coordinate set"
    return f"the direction {verb}, {'along' if arm.strength > 0 else 'against'} it, at a dose that the facts give"


def _texts(reading: Reading, label: str) -> int:
    return len(reading.answered[(PLAIN, label)].shown)


def _null(control: Control | None, label: str, what: str) -> Null | None:
    values = None if control is None else {"change": control.change, "shift": control.shift}[what].get(label)
    return None if values is None or not len(values) else random_null(values)


def _control_facts(reading: Reading, arm: Arm, label: str) -> dict[str, int | float | str | None]:
    """Return, for each kind of control, how many there are and how far they move the rate."""
    facts: dict[str, int | float | str | None] = {}
    for kind in CONTROLS:
        control = reading.controls.get((kind, arm.name))
        if control is None or label not in control.change:
            continue
        sizes = np.abs(control.change[label])
        facts |= {
            f"{kind}_controls": len(sizes),
            f"{kind}_q95": float(sizes[upper_quantile(sizes)]),
            f"{kind}_largest": float(sizes.max()),
            "control_texts": control.texts[label],
            "change_on_control_texts": control.handle_change[label],
        }
    return facts
