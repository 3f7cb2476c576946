"""Which observations does a concept direction give, and in which words?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dossier.model import Null, Observation
from evidence_collectors.interpretability.concept_direction.fit import LATE, Candidate, choose
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.reading import Reading, Scored
from evidence_collectors.interpretability.concept_direction.separation import INDEPENDENT, READERS, recall, separation
from evidence_collectors.interpretability.concept_direction.trials import REPORTED
from evidence_collectors.interpretability.quantities import T_METHOD, Array, Facts, Value, mean_value, write

INTERVENTIONS = ("bypass", "bypass_drop", "induce", "induce_rise", "divergence")
OFF_DISTRIBUTION = "Any push of this size disturbs a model; the null says what random directions at the same norm do."
ONE_DIRECTION = (
    "A behaviour may hang on several directions; this is one of them (Wollschläger et al. 2025, arXiv:2502.17420)."
)
TOKENS = "The behaviour is read off the next token only, as the share of probability on the planned first tokens."
HALVES = "quantiles over random halvings of the training texts; no interval for other texts"


def quantities(params: DirectionParameters) -> tuple[str, ...]:
    """Return the ids of the observations, in order; they do not depend on the parameters."""
    names: list[str] = []
    for split in REPORTED:
        for reader in READERS:
            names += [f"{split}.{reader}_{what}" for what in ("auroc", "margin", "recall")]
        names += [f"test.{name}" for name in INTERVENTIONS] if split == "test" else []
        names.append(f"{split}.first_component_share")
    return (*names, "selection.qualified", "selection.norm", "selection.half_cosine", "self_test.parity")


def observations(reading: Reading, params: DirectionParameters) -> tuple[Observation, ...]:
    """Return the observations of a reading, in the order of `quantities`."""
    reasons = missing(reading, params)
    found: list[Observation] = []
    for split in REPORTED:
        for reader in READERS:
            found += separation(reading, params, split, reader, reasons=reasons)
            found.append(recall(reading, params, split, reader, reasons=reasons))
        found.append(_spread(reading, params, split))
    found += _interventions(reading, params, reasons)
    found += _selection(reading, params, reasons)
    by_id = {one.id: one for one in found}
    return tuple(by_id[name] for name in quantities(params))


def missing(reading: Reading, params: DirectionParameters) -> tuple[str, ...]:
    """Return why nothing can be said about the direction, nothing where something can."""
    reasons: list[str] = []
    if reading.self_test is None:
        reasons.append(f"the self-test failed: {reading.self_test_error}")
    if reading.sizes is not None:
        reasons += [
            f"{count} {name.replace('_', ' ')} texts; {params.minimum_items} are needed"
            for name, count in reading.sizes.items()
            if count < params.minimum_items
        ]
    if reading.selected is None:
        reasons += [f"layer {one.layer}, {one.position}: {one.disqualified(params)}" for one in reading.candidates]
        reasons += reading.candidate_errors
        reasons.append(reading.selected_error)
    return tuple(dict.fromkeys(reason for reason in reasons if reason))


# --- interventions -------------------------------------------------------------------------------------------------


def _interventions(reading: Reading, params: DirectionParameters, reasons: tuple[str, ...]) -> Iterator[Observation]:
    positive, negative = reading.answered["positive"], reading.answered["negative"]
    yield _next_token(
        "test.bypass",
        "Mean log-odds of the behaviour's tokens on positive texts with the direction ablated everywhere.",
        (positive, "positive texts"),
        params,
        reasons,
        names=("ablated", "", "random_ablated"),
    )
    yield _next_token(
        "test.bypass_drop",
        "By how much ablating the direction everywhere lowers the log-odds of the behaviour's tokens on positive texts.",
        (positive, "positive texts"),
        params,
        reasons,
        names=("plain", "ablated", "random_ablated"),
    )
    yield _next_token(
        "test.induce",
        "Mean log-odds of the behaviour's tokens on negative texts with the direction added at its own norm.",
        (negative, "negative texts"),
        params,
        reasons,
        names=("added", "", "random_added"),
    )
    yield _next_token(
        "test.induce_rise",
        "By how much adding the direction raises the log-odds of the behaviour's tokens on negative texts.",
        (negative, "negative texts"),
        params,
        reasons,
        names=("added", "plain", "random_added"),
    )
    yield _next_token(
        "test.divergence",
        "Mean divergence of the next token of negative texts under ablation of the direction, KL(plain || ablated).",
        (negative, "negative texts"),
        params,
        reasons,
        names=("divergence", "", "random_divergence"),
    )


def _next_token(
    name: str,
    estimand: str,
    texts: tuple[Scored, str],
    params: DirectionParameters,
    reasons: tuple[str, ...],
    *,
    names: tuple[str, str, str],
) -> Observation:
    """Return a mean over texts of one reading, less another where one is named, with the same for random directions."""
    scored, counted = texts
    own, less, control = names
    if scored.failed:
        reasons += (f"{scored.failed} texts could not be asked: {scored.why}",)
    elif scored.count < params.minimum_items:
        reasons += (f"{scored.count} {counted} in the split 'test'; {params.minimum_items} are needed",)
    value = Value.unknown(*reasons)
    null: Null | None = None
    facts: Facts = {}
    if not reasons:
        value = mean_value(scored.one(own) - (scored.one(less) if less else 0.0), params.interval_level)
        null, facts = _random(scored, own, less, control)
    if name == "test.divergence" and value.limits is not None:
        value = Value(value.estimate, (max(value.limits[0], 0.0), value.limits[1]))
    return write(
        name,
        estimand,
        value,
        unit="nats",
        n=(scored.count, counted),
        method="mean over texts of log p(R) - log(1 - p(R))" if name != "test.divergence" else "mean over texts",
        interval=(T_METHOD, params.interval_level),
        null=null,
        facts=facts,
        limits=(TOKENS, OFF_DISTRIBUTION, ONE_DIRECTION, INDEPENDENT),
    )


def _random(scored: Scored, own: str, less: str, control: str) -> tuple[Null, Facts]:
    """Return what random directions do in the same place: the mean over directions, and the 5 % and 95 % quantiles."""
    if less == "ablated":  # plain minus ablated: the control takes the place of what is taken away
        means = (scored.one("plain")[:, None] - scored.scores[control]).mean(axis=0)
    else:
        means = (scored.scores[control] - (scored.one(less)[:, None] if less else 0.0)).mean(axis=0)
    low, high = (float(np.quantile(means, share)) for share in (0.05, 0.95))
    null = Null(
        what="random directions at the same norm in the same place: mean, and 5 % to 95 % of them",
        estimate=float(means.mean()),
        low=low,
        high=high,
    )
    facts: dict[str, int | float | str | None] = {"null_random_count": len(means), "null_largest": float(means.max())}
    facts |= {"null_smallest": float(means.min())}
    if "plain" in scored.scores:
        facts["plain"] = float(scored.one("plain").mean())
    return null, facts


# --- the direction itself ------------------------------------------------------------------------------------------


def _spread(reading: Reading, params: DirectionParameters, split: str) -> Observation:
    count = sum(reading.texts[(split, label)].count for label in ("positive", "negative"))
    share = reading.spectra.get(split)
    value = Value.unknown("the activations of this split were not read: no direction was chosen, or too few texts")
    return write(
        f"{split}.first_component_share",
        "Share of the variance of the activations, where the direction is read, along their first principal component.",
        value if share is None else Value(share),
        unit="proportion",
        n=(count, "positive and negative texts"),
        method="largest squared singular value of the centred activations / sum of all",
        interval=("none", params.interval_level),
        limits=("Near 1 almost any direction orders the texts alike, and an AUROC says little.",),
    )


def _selection(reading: Reading, params: DirectionParameters, reasons: tuple[str, ...]) -> Iterator[Observation]:
    qualified = [one for one in reading.candidates if not one.disqualified(params)]
    tried = len(reading.candidates)
    chosen = choose(reading.candidates, params)
    yield write(
        "selection.qualified",
        f"Candidates whose addition raises the behaviour's log-odds above 0 and whose ablation moves other texts by less "
        f"than {params.kl_max:g} nats, before the last {LATE:.0%} of the blocks; on validation texts.",
        Value(float(len(qualified))) if tried else Value.unknown(*reading.candidate_errors, reading.self_test_error),
        unit="count",
        n=(tried, "candidates that could be judged"),
        method="count; the one whose ablation bypasses the behaviour most is chosen",
        interval=("none", params.interval_level),
        facts=_chosen_facts(reading, chosen) | _curve(reading),
        limits=("Chosen among candidates on validation texts; what is reported was measured on other texts.",),
    )
    yield from _geometry(reading, params, reasons)
    tested = reading.self_test
    yield write(
        "self_test.parity",
        "Largest difference between captured activations and the engine's own, as a share of the mean residual norm.",
        Value(float(tested["parity"])) if tested else Value.unknown(reading.self_test_error),
        unit="ratio",
        n=(1 if tested else 0, "passes of a fixed text"),
        method="largest absolute difference / mean norm",
        interval=("none", params.interval_level),
        facts={"d_model": tested["d_model"], "blocks": tested["blocks"]} if tested else {},
    )


def _geometry(reading: Reading, params: DirectionParameters, reasons: tuple[str, ...]) -> Iterator[Observation]:
    selected = reading.selected
    ratio = Value.unknown(*reasons)
    if selected is not None and not reasons:
        ratio = Value(float(selected["norm"]) / float(selected["mean_residual_norm"]))
    yield write(
        "selection.norm",
        "Norm of the difference of means, in units of the mean norm of the residual stream there.",
        ratio,
        unit="residual_norm_fraction",
        n=(reading.sizes["train_positive"] + reading.sizes["train_negative"] if reading.sizes else 0, "training texts"),
        method="norm of the difference / mean norm over the tokens of the training prompts, first tokens left out",
        interval=("none", params.interval_level),
    )
    halves, null = Value.unknown(*reasons), None
    count = 0
    if selected is not None:
        found = np.array(selected["half_cosines"])
        count = len(found)
        if not reasons:
            halves = Value(float(found.mean()), _middle(found, params.interval_level))
            shuffled = np.array(selected["half_cosines_shuffled"])
            low, high = _middle(shuffled, params.interval_level)
            null = Null(what="the same with permuted labels", estimate=float(shuffled.mean()), low=low, high=high)
    yield write(
        "selection.half_cosine",
        "Cosine of the directions fitted on two disjoint halves of the training texts.",
        halves,
        unit="cosine",
        n=(count, "random halvings of the training texts"),
        method="mean over halvings",
        interval=(HALVES, params.interval_level),
        null=null,
        limits=("Halves of one item set share its templates: another set may give another direction.",),
    )


def _middle(values: Array, level: float) -> tuple[float, float]:
    return float(np.quantile(values, (1.0 - level) / 2.0)), float(np.quantile(values, (1.0 + level) / 2.0))


def _chosen_facts(reading: Reading, chosen: Candidate | None) -> dict[str, int | float | str | None]:
    facts: dict[str, int | float | str | None] = {"candidates_failed": len(reading.candidate_errors)}
    if chosen is None:
        return facts
    for name in ("layer", "position", "depth", "bypass", "induce", "kl", "auroc", "plain_positive", "plain_negative"):
        facts[f"chosen_{name}"] = getattr(chosen, name)
    if reading.selected is not None:
        facts["vector_sha256"] = str(reading.selected["vector_sha256"])
        facts["probe_position"] = str(reading.selected["probe_position"])
    return facts


def _curve(reading: Reading) -> dict[str, int | float | str | None]:
    """Return the validation numbers of every candidate: what a layer curve is drawn from."""
    facts: dict[str, int | float | str | None] = {}
    for one in reading.candidates:
        for name in ("bypass", "induce", "kl", "auroc"):
            facts[f"layer_{one.layer}_{one.position}_{name}"] = getattr(one, name)
    return facts
