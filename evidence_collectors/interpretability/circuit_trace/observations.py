"""Which observations does a circuit trace give, and in which words?"""

from __future__ import annotations

from collections.abc import Sequence

from dossier.model import Interval, Null, Observation, Unit
from evidence_collectors.interpretability.circuit_trace import estimates as estimates
from evidence_collectors.interpretability.circuit_trace import rows
from evidence_collectors.interpretability.circuit_trace.estimates import Values
from evidence_collectors.interpretability.circuit_trace.parameters import CircuitTraceParameters
from evidence_collectors.interpretability.circuit_trace.reading import Reading
from evidence_collectors.interpretability.circuit_trace.rows import Row

QUANTITIES = (
    "scores.replacement",
    "scores.replacement_margin",
    "scores.completeness",
    "scores.completeness_margin",
    "scores.error_share",
    "patching.faithfulness",
    "patching.faithfulness_margin",
    "patching.faithfulness_without_errors",
    "patching.complement",
    "patching.effect",
    "interventions.rank_correlation",
    "core.features",
    "core.edges",
    "core.edge_share",
    "core.edge_stability",
    "stability.family_overlap",
    "stability.pair_overlap",
    "size.features",
    "size.nodes",
    "size.edges",
    "self_test.unexplained",
    "self_test.cross_check",
    "self_test.logits",
    "self_test.fvu",
    "self_test.l0",
)


def observations(reading: Reading, params: CircuitTraceParameters, seed: str) -> tuple[Observation, ...]:
    """Return the observations of a reading, in the order of `QUANTITIES`."""
    written = rows.rows(reading, params)
    found = {row.name: _write(row, reading, params) for row in written}
    found |= {one.id: one for one in _self_test(reading, params)}
    found["interventions.rank_correlation"] = _interventions(reading, params, seed)
    return tuple(found[name] for name in QUANTITIES)


def _interventions(reading: Reading, params: CircuitTraceParameters, seed: str) -> Observation:
    row = rows.interventions(reading, params)
    found = _write(row, reading, params)
    null = estimates.permuted(reading, params, seed)
    if found.estimate is None or null is None:
        return found
    pairs = sum(len(prompt.predicted) for _, prompt in reading.prompts)
    return found.model_copy(
        update={
            "null": Null(
                what="observations permuted within each prompt",
                estimate=null.mean,
                low=null.limits[0],
                high=null.limits[1],
            ),
            "facts": {**found.facts, "interventions": pairs, "permutation_p": null.p_value},
        }
    )


def _self_test(reading: Reading, params: CircuitTraceParameters) -> list[Observation]:
    test = reading.self_test
    checks = [prompt.cross_check for _, prompt in reading.prompts]
    words: dict[str, tuple[str, Unit, float | None, str]] = {
        "unexplained": (
            "By how much the rows of a graph's logits, biases counted, fail to add up to the logits; a share of them.",
            "ratio", test.unexplained if test else None, "largest over the traced logits of one prompt",
        ),
        "cross_check": (
            "Largest difference between our two scores and those of circuit-tracer, over all graphs.",
            "ratio", max(checks) if checks else None, "max |ours - the library's|",
        ),
        "logits": (
            "Largest difference between the library's copy of the model and the subject, as a share of the largest logit.",
            "ratio", test.logits if test else None, "max |difference| / max |logit| on one prompt",
        ),
        "fvu": (
            "Variance of the MLP outputs that the transcoders leave unexplained on the traced prompts, the worst layer.",
            "ratio", max(test.fvu) if test else None, "sum of squared errors / sum of squares about the mean",
        ),
        "l0": (
            "Features per token on the traced prompts, mean over layers.",
            "count", sum(test.l0) / len(test.l0) if test else None, "active features / tokens",
        ),
    }  # fmt: skip
    made = []
    for name, (estimand, unit, value, method) in words.items():
        of_texts = name in ("fvu", "l0") and test is not None
        n = test.tokens if test and of_texts else len(checks) if name == "cross_check" else int(test is not None)
        made.append(
            Observation(
                id=f"self_test.{name}",
                estimand=estimand,
                unit=unit,
                estimate=value,
                interval=None,
                n=n,
                n_counts="tokens of the traced prompts" if of_texts else "prompts",
                method=method,
                reasons=() if value is not None else ("the self-test or every prompt failed",),
                facts=_layers(name, reading),
            )
        )
    return made


def _layers(name: str, reading: Reading) -> dict[str, int | float | str | None]:
    test = reading.self_test
    if test is None:
        return {}
    if name == "unexplained":
        return {"embedding_scale": test.embedding_scale, "parity": test.parity}
    values = {"fvu": test.fvu, "l0": test.l0}.get(name, ())
    return {f"layer_{layer}": value for layer, value in enumerate(values)}


def _write(row: Row, reading: Reading, params: CircuitTraceParameters) -> Observation:
    held = estimates.known(row.values.values())
    reasons = _reasons(row, len(held), params)
    if reading.self_test is None:
        reasons = ("the self-test failed, so no graph can be quoted", *reasons)
    found = None if reasons else estimates.median(held, params.interval_level)
    facts: dict[str, int | float | str | None] = {"refused": len(row.values) - len(held), "failed": len(reading.failed)}
    if found is not None:
        facts |= dict(zip(("prompts_q05", "prompts_q25", "prompts_q75", "prompts_q95"), found.quantiles, strict=True))
    return Observation(
        id=row.name,
        estimand=row.estimand,
        unit=row.unit,
        estimate=None if found is None else found.estimate,
        interval=None
        if found is None or found.limits is None
        else Interval(
            low=found.limits[0],
            high=found.limits[1],
            level=params.interval_level,
            method=f"order statistics of {row.counts}: exact for a median, whatever their distribution",
        ),
        n=len(held),
        n_counts=row.counts,
        method=row.method,
        reasons=reasons,
        null=_null(row.null, params) if found is not None else None,
        facts=facts,
        limits=row.limits,
    )


def _reasons(row: Row, held: int, params: CircuitTraceParameters) -> tuple[str, ...]:
    if held < params.minimum_prompts:
        return (f"only {held} {row.counts} have a value; {params.minimum_prompts} are needed",)
    if row.promised - held > params.maximum_refused * row.promised:
        return (
            f"{row.promised - held} of {row.promised} {row.counts} were refused or failed, more than "
            f"{params.maximum_refused:.0%}: what is left may not stand for the rest",
        )
    return ()


def _null(null: tuple[str, Values] | None, params: CircuitTraceParameters) -> Null | None:
    held = estimates.known(null[1].values()) if null else []
    if null is None or not held:
        return None
    found = estimates.median(held, params.interval_level)
    low, high = found.limits or (None, None)
    return Null(what=null[0], estimate=found.estimate, low=low, high=high)


def quantities(params: CircuitTraceParameters) -> Sequence[str]:
    """Return the ids of the observations, in order."""
    del params
    return QUANTITIES
