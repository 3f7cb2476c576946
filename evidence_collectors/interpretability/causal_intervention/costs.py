"""What does an intervention cost, and does its effect rise with the dose?"""

from __future__ import annotations

from itertools import pairwise

from dossier.comparison import clopper_pearson
from dossier.model import Null, Observation
from dossier.statistics import wilson
from evidence_collectors.interpretability.causal_intervention import detectors as detectors
from evidence_collectors.interpretability.causal_intervention.estimates import (
    degenerate_count,
    readable,
    rising_steps,
)
from evidence_collectors.interpretability.causal_intervention.parameters import InterventionParameters
from evidence_collectors.interpretability.causal_intervention.reading import Reading
from evidence_collectors.interpretability.causal_intervention.trials import LABELS, PLAIN, Arm, arms
from evidence_collectors.interpretability.quantities import T_METHOD, Facts, Value, mean_value, write


def degeneration(reading: Reading, params: InterventionParameters, arm: str) -> Observation:
    """Return how often answers are none, in one arm."""
    tables = [reading.answered[(arm, label)] for label in LABELS]
    before, of = degenerate_count([reading.answered[(PLAIN, label)] for label in LABELS])
    broken, count = degenerate_count(tables)
    reasons = tuple(dict.fromkeys(table.why for table in tables if table.why))
    value, null = Value.unknown(*(reasons or ("no text was asked",))), None
    facts: dict[str, int | float | str | None] = {"degenerate": broken, "rule": detectors.DEGENERATE}
    if count and not reasons:
        value = Value(broken / count, clopper_pearson(broken, count, params.interval_level))
        if arm != PLAIN and of:
            low, high = wilson(before / of, of, params.interval_level)
            null = Null(what="the unchanged model on the same texts", estimate=before / of, low=low, high=high)
        random = reading.controls.get(("random", arm))
        facts["random_controls"] = random.degenerate if random is not None and not random.why else None
    return write(
        f"{'baseline' if arm == PLAIN else arm}.degeneration",
        "Rate of answers that are none: empty, repeating themselves, or running on where the unchanged model stopped.",
        value,
        unit="proportion",
        n=(count, "answers to positive and negative texts"),
        method="degenerate answers / answers, by rule",
        interval=("Clopper-Pearson", params.interval_level),
        null=null,
        facts=facts,
        limits=("A rule finds repetition and silence; fluent nonsense passes.",),
    )


def capability(reading: Reading, params: InterventionParameters, arm: Arm) -> Observation:
    """Return what neutral texts lose in one arm."""
    found, why = reading.capability[arm.name]
    value = Value.unknown(why)
    if not why and len(found) < params.minimum_items:
        value = Value.unknown(f"{len(found)} neutral texts; {params.minimum_items} are needed")
    elif not why:
        value = mean_value(found, params.interval_level)
    return write(
        f"{arm.name}.capability",
        "By how many nats a token neutral texts get less likely when the model is changed so.",
        value,
        unit="nats",
        n=(len(found), "neutral texts"),
        method="mean over texts of the mean negative log-probability of the response, changed minus plain",
        interval=(T_METHOD, params.interval_level),
        facts=dose(reading, arm),
        limits=("A rise says that ability was lost; no rise on these texts does not say that none was.",),
    )


def rising(reading: Reading, params: InterventionParameters, operation: str, label: str) -> Observation:
    """Return whether the dose-response of one operation rises, on one class."""
    planned = [arm for arm in arms(params) if arm.operation == operation]
    reasons = [reason for arm in planned for reason in readable(reading, arm.name, label, params.minimum_items)]
    value, facts = Value.unknown(*dict.fromkeys(reasons)), dict[str, int | float | str | None]()
    if not reasons:
        doses = [(arm.strength or 0.0, float(reading.answered[(arm.name, label)].shown.mean())) for arm in planned]
        if operation == "add":
            doses.append((0.0, float(reading.answered[(PLAIN, label)].shown.mean())))
        doses.sort()
        value = rising_steps([rate for _, rate in doses])
        falls = [before[1] - after[1] for before, after in pairwise(doses)]
        facts = {"largest_fall": max(0.0, *falls), "weakest_rate": doses[0][1], "strongest_rate": doses[-1][1]}
    return write(
        f"dose.{operation}_rising_{label}",
        f"Share of neighbouring doses between which the rate of the behaviour on {label} texts does not fall as the push "
        "goes from against the direction to along it; 1 is monotone.",
        value,
        unit="proportion",
        n=(len(reading.answered[(PLAIN, label)].shown), f"{label} texts, in every dose"),
        method="steps that do not fall / steps, by observed rates",
        interval=("none", params.interval_level),
        facts=facts,
        limits=("Strong pushes can suppress what weak ones induce; a step counts whatever its size.",),
    )


def parity(reading: Reading, params: InterventionParameters) -> Observation:
    """Return the self-test, with the direction in its facts."""
    tested, handle = reading.self_test, reading.handle
    facts: Facts = {}
    if handle is not None:
        names = ("source", "layer", "norm", "mean_residual_norm", "vector_sha256")
        facts = {f"direction_{name}": handle[name] for name in names}
    return write(
        "self_test.parity",
        "Largest difference between captured activations and the engine's own, as a share of the mean residual norm.",
        Value(float(tested["parity"])) if tested is not None else Value.unknown(reading.why or "no self-test is there"),
        unit="ratio",
        n=(0 if tested is None else 1, "passes of a fixed text"),
        method="largest absolute difference / mean norm",
        interval=("none", params.interval_level),
        facts=facts,
    )


def dose(reading: Reading, arm: Arm) -> dict[str, int | float | str | None]:
    """Return the strength of an arm in units of the mean residual norm, and that norm."""
    norm = None if reading.handle is None else float(reading.handle["mean_residual_norm"])
    return (
        {} if arm.strength is None else {"series": arm.operation, "strength": arm.strength, "mean_residual_norm": norm}
    )
