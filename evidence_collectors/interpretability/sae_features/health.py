"""Does the dictionary describe this model's activations at all? Measured on the texts that are reported on.

Never copied from the dictionary's files: after short training a stated L0 of 16 was measured as 51. L0 is active features a
token; FVU is the share of variance that is not explained, 1 - (1 - SSE / SST), with SST about the mean over all tokens; the
CE score is (CE_ablated - CE_spliced) / (CE_ablated - CE_clean). Source: Karvonen et al. 2025 (SAEBench, arXiv:2503.09532).
"""

from __future__ import annotations

from typing import Any

from dossier.model import Null, Observation
from evidence_collectors.interpretability.sae_features import estimates as estimates
from evidence_collectors.interpretability.sae_features.estimates import Quantity
from evidence_collectors.interpretability.sae_features.parameters import SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.trials import Trials
from evidence_collectors.interpretability.sae_features.writing import CLUSTERED, Facts, write

SPARSITY = 0.5  # a measured L0 further from the stated one than this share of it is pointed out
QUANTITIES = ("l0", "fvu", "ce_score", "alive", "dense_1", "dense_10")
NOISE_FLOOR = 0.05  # nats a token; where ablating costs less, the CE score divides by noise
CENSUS = "A count over these tokens without an interval: more tokens would find more features alive."


def unusable(trials: Trials, params: SaeFeaturesParameters) -> tuple[str, ...]:
    """Return why the whole reading cannot be used: the self-test is missing or failed."""
    table, held = trials.tables["subject"], trials.single("subject")
    if held is None:
        return (f"self-test: {table.problem}",)
    reasons = []
    if held["parity"] > params.maximum_parity:
        reasons.append(f"captured activations differ from the engine's own by {held['parity']:.2g} of their norm")
    if held["fvu"] > params.maximum_fvu:
        reasons.append(
            f"the dictionary leaves {held['fvu']:.2f} of the variance unexplained where features are chosen, more than "
            f"{params.maximum_fvu:g}: it does not describe this model"
        )
    for name in ("positives", "negatives"):
        if held[name] < params.minimum_items:
            reasons.append(f"only {held[name]} {name[:-1]} items choose features; {params.minimum_items} are needed")
    return tuple(reasons)


def observations(trials: Trials, params: SaeFeaturesParameters) -> list[Observation]:
    """Return the dictionary's health. It is shown also where the self-test failed: that is when it is needed."""
    facts = _self_test(trials)
    active = _of_tokens(
        "l0", "Active features per token, mean over tokens.", "active", "tokens", trials, params, facts, null=None
    )
    return [
        active.model_copy(update={"limits": (*active.limits, *_unlike_stated(facts))}),
        _of_tokens(
            "fvu",
            "Share of the activations' variance that the reconstruction leaves unexplained.",
            "error",
            "spread",
            trials,
            params,
            facts,
            null=Null(what="a reconstruction that is always the mean activation", estimate=1.0),
        ),
        _ce_score(trials, params),
        *_census(trials, params),
    ]


def _unlike_stated(facts: Facts) -> tuple[str, ...]:
    """Return a warning where the dictionary is far from as sparse as its files state: it may belong somewhere else."""
    stated, measured = facts["stated_l0"], facts["self_test_l0"]
    if not isinstance(stated, int | float) or not isinstance(measured, int | float):
        return ()
    if abs(measured - stated) <= SPARSITY * stated:
        return ()
    return (
        f"The dictionary's files state {stated:.3g} active features a token, and {measured:.3g} were measured where features "
        "are chosen: it may have been trained at another point, on another model, or on texts unlike these.",
    )


def _of_tokens(
    name: str,
    estimand: str,
    above: str,
    below: str,
    trials: Trials,
    params: SaeFeaturesParameters,
    facts: Facts,
    *,
    null: Null | None,
) -> Observation:
    table = trials.tables["read"]
    quantity, tokens = Quantity(None, reasons=(table.problem,)), 0
    if not table.problem:
        numerator, denominator = table.column(above), table.column(below)
        tokens = int(table.column("tokens").sum())
        quantity = Quantity(None, reasons=(f"the sum of {below} over all texts is 0",))
        if denominator.sum() > 0.0:
            quantity = estimates.ratio(numerator, denominator, table.clusters(), level=params.interval_level)
    return write(
        f"health.{name}",
        estimand,
        "ratio",
        Quantity(quantity.estimate, quantity.limits, quantity.reasons),
        params,
        n=(tokens, "tokens of the items that are reported on, without each text's first"),
        method=f"sum of {above} / sum of {below}",
        interval=CLUSTERED,
        null=null if quantity.estimate is not None else None,
        facts=facts,
    )


def _ce_score(trials: Trials, params: SaeFeaturesParameters) -> Observation:
    table = trials.tables["fidelity"]
    quantity, facts = Quantity(None, reasons=(table.problem,)), Facts()
    if not table.problem:
        clean, spliced, gone = (table.column(name) for name in ("clean", "dictionary", "ablated"))
        facts = {"clean": float(clean.mean()), "dictionary": float(spliced.mean()), "ablated": float(gone.mean())}
        cost = float((gone - clean).mean())
        quantity = Quantity(
            None, reasons=(f"ablating the activations costs {cost:.3f} nats a token, less than {NOISE_FLOOR:g}",)
        )
        if cost >= NOISE_FLOOR:
            quantity = estimates.ratio(gone - spliced, gone - clean, table.clusters(), level=params.interval_level)
    return write(
        "health.ce_score",
        "Share of the loss of predictive quality under ablation of the activations that the reconstruction avoids.",
        "ratio",
        Quantity(quantity.estimate, quantity.limits, quantity.reasons),
        params,
        n=(len(table.rows), "items read with the reconstruction in the activations' place"),
        method="(CE ablated - CE spliced) / (CE ablated - CE clean), mean nats a token of each text; ablated is zero",
        interval=CLUSTERED,
        null=Null(what="activations set to zero", estimate=0.0) if quantity.estimate is not None else None,
        facts=facts,
        limits=("Each text's first token stays as it is. On texts the model cannot predict the score means little.",),
    )


def _census(trials: Trials, params: SaeFeaturesParameters) -> list[Observation]:
    table, held = trials.tables["census"], trials.single("census")
    tokens = 0 if held is None else int(held["tokens"])
    n = (tokens, "tokens of the items that are reported on, without each text's first")
    cases = (
        (
            "alive",
            "Share of the dictionary's features that were active on at least one token.",
            "active features / all",
        ),
        ("dense_1", "Share of all activity by features active on more than 1 % of tokens.", "activity of these / all"),
        (
            "dense_10",
            "Share of all activity by features active on more than 10 % of tokens.",
            "activity of these / all",
        ),
    )
    found = []
    for name, estimand, method in cases:
        quantity, facts = Quantity(None, reasons=(table.problem,)), Facts()
        if held is not None:
            facts = {"width": int(held["width"]), "alive": int(held["alive"])}
            quantity = Quantity(held["alive"] / held["width"] if name == "alive" else float(held[name]))
        found.append(
            write(
                f"health.{name}",
                estimand,
                "proportion",
                quantity,
                params,
                n=n,
                method=method,
                interval="none",
                facts=facts,
                limits=(CENSUS,),
            )
        )
    return found


def _self_test(trials: Trials) -> Facts:
    """Return what the self-test measured where features are chosen, and what the dictionary's files state."""
    held: Any = trials.single("subject") or {}
    names = ("parity", "l0", "fvu", "mean_norm", "tokens", "width", "d_in", "architecture", "normalisation", "point")
    stated = ("stated_l0", "stated_model")
    return {**{f"self_test_{name}": held.get(name) for name in names}, **{name: held.get(name) for name in stated}}
