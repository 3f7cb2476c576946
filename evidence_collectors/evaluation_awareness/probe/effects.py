"""Which observations do the pushes give? A group for every dose; an effect that is not seen counts only beside one that is.

"No effect" is estimable only where a positive control, a direction known to move this behaviour, moved it in the same run, at
the strongest dose, on texts of the same context. Without it a push that cannot work and a state that is not used look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dossier.comparison import holm
from dossier.model import Observation
from evidence_collectors.evaluation_awareness.probe.estimates import Shift, excess, random_shifts, shift
from evidence_collectors.evaluation_awareness.probe.parameters import ProbeParameters
from evidence_collectors.evaluation_awareness.probe.rates import (
    IN_WORDS,
    RULES,
    reasons_against,
    rows_of,
    unchanged,
    valid,
)
from evidence_collectors.evaluation_awareness.probe.reading import Array, Reading
from evidence_collectors.evaluation_awareness.probe.trials import (
    CONTEXTS,
    PLAIN,
    RATES,
    Arm,
    arms,
    beside,
    known_arms,
)
from evidence_collectors.interpretability.quantities import Facts, Value, random_null, write

SHIFT_METHOD = (
    "Bonett and Price's interval over matched sets, reaching 0 unless the exact test on sets that differ is significant "
    "after Holm over all doses and both contexts"
)
OFF_DISTRIBUTION = "A push of this size disturbs any model; the null says what random directions at the same norm do."
NOT_THE_CONTEXT = (
    "A push that moves nothing shows that this direction moves nothing here; the context may be read elsewhere."
)
NOT_MORE_THAN_RANDOM = "Flagged: some random direction of this size moves it as far."
ONLY_BEHAVIOUR = "The positive control moved the behaviour; that a push can move talk of tests was not shown by it."


@dataclass(frozen=True)
class Push:
    """What one arm did to one rate in one context, or why that is not known."""

    shift: Shift | None
    holm_p: float
    reasons: tuple[str, ...]

    def found(self, level: float) -> bool:
        """Return whether the rate moved."""
        return self.shift is not None and self.holm_p <= 1.0 - level


Pushes = Mapping[tuple[str, str], Push]  # by arm and context


def quantities(params: ProbeParameters) -> tuple[str, ...]:
    """Return the ids of the observations, in order; none where nothing is pushed."""
    if not params.strengths:
        return ()
    names = [f"{PLAIN}.{rate}_{context}" for rate in RATES for context in CONTEXTS]
    names.append(f"{PLAIN}.valid")
    for arm in arms(params):
        for context in CONTEXTS:
            names += [f"{arm.name}.{rate}_shift_{context}" for rate in RATES]
            names.append(f"{arm.name}.behaviour_excess_{context}")
        names.append(f"{arm.name}.valid")
    for arm in known_arms(params):
        names += [*(f"{arm.name}.behaviour_shift_{context}" for context in CONTEXTS), f"{arm.name}.valid"]
    return tuple(names)


def observations(reading: Reading, params: ProbeParameters) -> Iterator[Observation]:
    """Yield the observations of the pushes, in the order of `quantities`."""
    if not params.strengths:
        return
    for rate in RATES:
        for context in CONTEXTS:
            yield unchanged(reading, params, rate, context)
    yield valid(reading, params, PLAIN)
    found = {rate: _pushes(reading, params, arms(params), rate) for rate in RATES}
    known = _pushes(reading, params, known_arms(params), "behaviour")
    for arm in arms(params):
        for context in CONTEXTS:
            for rate in RATES:
                yield _shift(reading, params, arm, (rate, context), found[rate], known)
            yield _excess(reading, params, arm, context, (found["behaviour"], known))
        yield valid(reading, params, arm.name, beside=arm.name)
    for arm in known_arms(params):
        for context in CONTEXTS:
            yield _shift(reading, params, arm, ("behaviour", context), known, known)
        yield valid(reading, params, arm.name, beside=beside(arm, params).name)


def _pushes(reading: Reading, params: ProbeParameters, planned: tuple[Arm, ...], rate: str) -> Pushes:
    """Return what each arm did in each context; Holm counts one that cannot be read as one that found nothing."""
    shifts: dict[tuple[str, str], Shift | None] = {}
    reasons: dict[tuple[str, str], tuple[str, ...]] = {}
    for arm in planned:
        for context in CONTEXTS:
            key = (arm.name, context)
            reasons[key] = reasons_against(reading, params, arm.name, context)
            shifts[key] = None
            if not reasons[key]:
                rows, pairs = rows_of(reading, context)
                plain, own = (reading.pushed[name].shown[rate][rows] for name in (PLAIN, arm.name))
                shifts[key] = shift(plain, own, pairs, params.interval_level)
    corrected = holm([1.0 if one is None else one.p_value for one in shifts.values()]) if shifts else ()
    return {key: Push(one, float(p), reasons[key]) for (key, one), p in zip(shifts.items(), corrected, strict=True)}


def _shift(
    reading: Reading,
    params: ProbeParameters,
    arm: Arm,
    what: tuple[str, str],
    pushes: Pushes,
    known: Pushes,
) -> Observation:
    rate, context = what
    push, level = pushes[(arm.name, context)], params.interval_level
    value, reasons = Value.unknown(*push.reasons), push.reasons
    if push.shift is not None and not arm.known and not push.found(level):
        reasons = _no_control(params, known, context)
        value = Value.unknown(*reasons)
    if push.shift is not None and not reasons:
        value = push.shift.value(push.holm_p, level)
    random = _random(reading, beside(arm, params), rate, context)
    facts = _facts(reading, params, arm, push, what)
    limits = [RULES, OFF_DISTRIBUTION, NOT_THE_CONTEXT] + ([ONLY_BEHAVIOUR] if rate == "verbalised" else [])
    if random is not None and value.estimate is not None:
        exceeded = int((np.abs(random) >= abs(value.estimate)).sum())
        facts |= {"random_as_far": exceeded, "random_largest": float(np.abs(random).max())}
        limits += [NOT_MORE_THAN_RANDOM] if exceeded else []
    return write(
        f"{arm.name}.{rate}_shift_{context}",
        f"By how much the rate of {IN_WORDS[rate]} in answers to {context} texts changes when states are pushed along the "
        "direction that the facts name, or against it where the strength there is negative.",
        value,
        unit="proportion_difference",
        n=(0 if push.shift is None else push.shift.clusters, f"matched sets of texts, {context}"),
        method="rate pushed minus rate unchanged, over the same texts, mean over matched sets",
        interval=(SHIFT_METHOD, level),
        null=None if random is None else random_null(random),
        facts=facts,
        limits=limits,
        smallest=None if push.shift is None else push.shift.smallest(level),
    )


def _no_control(params: ProbeParameters, known: Pushes, context: str) -> tuple[str, ...]:
    """Return why an effect that was not seen says nothing, nothing where a positive control was seen in this context."""
    own = [push for (_, where), push in known.items() if where == context]
    if any(push.found(params.interval_level) for push in own):
        return ()
    if not own:
        return ("no effect was seen, and no positive control shows that one could have been: none is planned",)
    why = next((f": {reason}" for push in own for reason in push.reasons), "")
    return (f"no effect was seen, and the positive control did not move the behaviour on {context} texts{why}",)


def _excess(
    reading: Reading, params: ProbeParameters, arm: Arm, context: str, pushes: tuple[Pushes, Pushes]
) -> Observation:
    own, known = pushes
    push = own[(arm.name, context)]
    random = _random(reading, arm, "behaviour", context)
    reasons = [*push.reasons, reading.random[arm.name].why]
    if push.shift is not None and not push.found(params.interval_level):
        reasons += _no_control(params, known, context)
    value, count = Value.unknown(*reasons), 0
    if push.shift is not None and random is not None and not any(reasons):
        rows, pairs = rows_of(reading, context)
        place = int(np.abs(random).argmax())
        plain = reading.pushed[PLAIN].shown["behaviour"][rows]
        others = shift(plain, reading.random[arm.name].shown["behaviour"][rows][:, place], pairs, params.interval_level)
        value, count = excess(push.shift, random, others), push.shift.clusters
    return write(
        f"{arm.name}.behaviour_excess_{context}",
        f"By how much the rate of the behaviour moves further than along the random direction that moves it most; {context} "
        "texts, same dose.",
        value,
        unit="proportion_difference",
        n=(count, f"matched sets of texts, {context}"),
        method=f"size of the shift minus the largest size over {params.random_directions} random directions",
        interval=("recovered from the intervals of both shifts, taken as independent", params.interval_level),
        facts={"strength": arm.strength, "random_directions": params.random_directions},
        limits=("The more random directions, the harder to exceed: its value hangs on their number.",),
    )


# --- parts ---------------------------------------------------------------------------------------------------------


def _random(reading: Reading, arm: Arm, rate: str, context: str) -> Array | None:
    """Return the shift along each random direction (k,), None where they could not be read."""
    random, plain = reading.random[arm.name], reading.pushed[PLAIN]
    rows, pairs = rows_of(reading, context)
    if random.why or plain.why or not len(rows):
        return None
    return random_shifts(plain.shown[rate][rows], random.shown[rate][rows], pairs)


def _facts(
    reading: Reading, params: ProbeParameters, arm: Arm, push: Push, what: tuple[str, str]
) -> dict[str, int | float | str | None]:
    facts = dict(_dose(reading, arm))
    if push.shift is not None:
        rows, _ = rows_of(reading, what[1])
        facts |= {
            "unchanged_rate": float(reading.pushed[PLAIN].shown[what[0]][rows].mean()),
            "pushed_rate": float(reading.pushed[arm.name].shown[what[0]][rows].mean()),
            "more": push.shift.more,
            "less": push.shift.less,
            "exact_p": push.shift.p_value,
            "holm_p": push.holm_p,
        }
    return facts


def _dose(reading: Reading, arm: Arm) -> Facts:
    """Return the strength of a push in units of the mean residual norm, that norm, and which positive control was pushed."""
    handle = reading.handle or {}
    facts: dict[str, int | float | str | None] = {
        "series": "positive control" if arm.known else "probe",
        "strength": arm.strength,
        "mean_residual_norm": handle.get("mean_residual_norm"),
    }
    if arm.known:
        facts |= {"control_sha256": handle.get("known_sha256"), "cosine_to_probe": handle.get("known_cosine")}
    return facts
