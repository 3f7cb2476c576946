"""How well does the instrument read known graphs? Studies on the one-block model, and controls without anything to find.

On that model every score, the circuit, its faithfulness and the effect of each feature are sums of products of weights
(`evidence_collectors.organisms.circuit_block_truth`). A study is a number of prompts drawn from a run; its medians and their
intervals are compared with the true medians over all prompts. What the certificates of all instruments share stands in
`evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dossier.model import NegativeControl, Observation, Trial
from evidence_collectors.calibration import Found, Studies, control, draw, resampled, seeds, summary
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR
from evidence_collectors.interpretability.circuit_trace.parameters import CircuitTraceParameters
from evidence_collectors.interpretability.circuit_trace.reading import TRACE

# Which prompts are taken, and how many, belongs to the subject's own plan.
FREE = ("prompts", "traced", "labels", "reference", "reference_texts", "drawn_nodes", "permutations")
BOUND = tuple(name for name in CircuitTraceParameters.model_fields if name not in FREE)
LIMITS = (
    "The estimator was checked on models of one block without attention, never on a subject.",
    "On them, nothing hangs on what a graph freezes but the final norm's scale.",
)
EXACT = 1e-6
LEAST_MARGIN = 0.05


def studied(
    run: Sequence[Trial],
    truths: Mapping[str, float],
    params: CircuitTraceParameters,
    *,
    source: str,
    sizes: Sequence[int],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of each size on one complete run: so many of its prompts, drawn with replacement."""
    for size in sizes:
        yield Studies(source, truths, list(_drawn(run, params, size=size, count=count, seed=seed, what=source)))


def controls(
    exact: Mapping[str, Sequence[Trial]],
    unrelated: Mapping[str, Sequence[Trial]],
    params: CircuitTraceParameters,
    *,
    size: int,
    count: int,
    seed: str,
) -> tuple[NegativeControl, ...]:
    """Return the controls: nothing lost must read as nothing lost, and nothing to find as nothing found.

    Args:
        exact: runs with transcoders that lack nothing, by model.
        unrelated: runs with transcoders that have nothing to do with the model, by model.
        params: the parameters of the runs.
        size: prompts of a study.
        count: studies on each run.
        seed: 16 hexadecimal digits; decides which prompts are drawn.
    """
    whole, none = (
        [
            found
            for what, run in runs.items()
            for found in _drawn(run, params, size=size, count=count, seed=seed, what=what)
        ]
        for runs in (exact, unrelated)
    )
    return (
        control(
            "transcoders that lack nothing",
            f"a replacement of 1 and no error, to {EXACT:g}",
            [_is(one["scores.replacement"], 1.0) and _is(one["scores.error_share"], 0.0) for one in whole],
        ),
        control(
            "transcoders that have nothing to do with the model",
            f"a replacement margin whose interval does not lie above {LEAST_MARGIN}",
            [_holds_at_most(one["scores.replacement_margin"], LEAST_MARGIN) for one in none],
        ),
    )


def _drawn(
    run: Sequence[Trial], params: CircuitTraceParameters, *, size: int, count: int, seed: str, what: str
) -> Iterator[Found]:
    """Yield what the instrument says of each of so many studies; all have the run's self-test."""
    prompts = sorted(trial.key.item for trial in run if trial.key.arm == TRACE)
    for own in seeds(seed, f"{what} {size}", count):
        drawn = draw({"prompts": prompts}, size, seed=own)
        trials = resampled(run, drawn, unit=lambda one: one.key.item if one.key.arm == TRACE else None)
        yield summary(COLLECTOR, trials, params, seed=own)


def _is(one: Observation, value: float) -> bool:
    return one.estimate is not None and abs(one.estimate - value) < EXACT


def _holds_at_most(one: Observation, value: float) -> bool:
    return one.interval is not None and one.interval.low <= value
