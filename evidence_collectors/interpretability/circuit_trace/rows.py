"""Which medians does a circuit trace report, of which values, and in which words?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dossier.model import Unit
from evidence_collectors.interpretability.circuit_trace import estimates as estimates
from evidence_collectors.interpretability.circuit_trace.estimates import Values
from evidence_collectors.interpretability.circuit_trace.parameters import CircuitTraceParameters
from evidence_collectors.interpretability.circuit_trace.reading import Prompt, Reading

PROMPTS = "prompts traced"
FROZEN = (
    "Attention patterns and norm scales are frozen at what they are on the prompt: the graph says what the attended "
    "positions pass on, not why they are attended to."
)
CAPPED = "A graph holds the most influential features up to a limit; what runs through the others is not in it."
FIRST = "The MLPs at the leading positions left out have no node, and no intervention changes them."
OWN = (
    "Features are those of the transcoders given; others, trained on another seed, would cut the computation elsewhere."
)
_SHUFFLED = "the same graph with each layer's decoder rows in a random order"
_RANDOM = "a random circuit with as many features and errors in each layer"
_MEDIAN = "median over prompts"


@dataclass(frozen=True)
class Row:
    """One quantity that is a median over units."""

    name: str
    estimand: str
    unit: Unit
    method: str
    values: Values
    promised: int
    null: tuple[str, Values] | None = None
    limits: tuple[str, ...] = ()
    counts: str = PROMPTS


def rows(reading: Reading, params: CircuitTraceParameters) -> tuple[Row, ...]:
    """Return every quantity that is a median, but that of the interventions."""
    return (
        *_scores(reading),
        *_patching(reading, params),
        *_core(reading, params),
        *_sizes(reading),
        *_stability(reading),
    )


def interventions(reading: Reading, params: CircuitTraceParameters) -> Row:
    """Return the agreement of predicted and observed effects; its null is a permutation's, see the observations."""
    return Row(
        "interventions.rank_correlation",
        "Rank correlation of the predicted with the observed fall of the metric when one feature is taken away, within a "
        f"prompt; {_MEDIAN}.",
        "ratio",
        f"Spearman over {params.interventions} features a prompt, half the strongest predicted and half drawn; predicted by "
        "all paths of the graph, observed in the model with nothing frozen",
        estimates.each(reading, estimates.rank_correlation),
        reading.promised,
        limits=("The strongest predicted are over-represented, which raises a rank correlation.", FROZEN),
    )


def _scores(reading: Reading) -> list[Row]:
    rows = []
    words = {
        "replacement": (
            "Share of the influence from tokens to the traced logits that runs through features and not through errors",
            "I(tokens) / (I(tokens) + I(errors)), I = w A + w A^2 + ...",
        ),
        "completeness": (
            "Share of what goes into the nodes, weighted by their influence, that comes from features and tokens",
            "sum (I + w)(1 - errors' share of the row) / sum (I + w)",
        ),
        "error_share": ("Share of all influence that error nodes have", "I(errors) / sum I"),
    }
    for name, (what, method) in words.items():
        own: Values = {key: getattr(prompt.scores, name) for key, prompt in reading.prompts}
        null: Values = {key: getattr(prompt.shuffled, name) for key, prompt in reading.prompts}
        limits = (FROZEN, CAPPED, FIRST, OWN)
        rows.append(
            Row(
                f"scores.{name}",
                f"{what}; {_MEDIAN}.",
                "proportion",
                method,
                own,
                reading.promised,
                null=(_SHUFFLED, null),
                limits=limits,
            )
        )
        if name != "error_share":
            margin = {key: _difference(own[key], null[key]) for key in own}
            rows.append(
                Row(
                    f"scores.{name}_margin",
                    f"By how much the {name} of a prompt's graph exceeds that with shuffled decoders; {_MEDIAN}.",
                    "proportion_difference",
                    f"{name}, less that of {_SHUFFLED}; paired by prompt",
                    margin,
                    reading.promised,
                    limits=(FROZEN, CAPPED),
                )
            )
    return rows


def _patching(reading: Reading, params: CircuitTraceParameters) -> list[Row]:
    def row(name: str, what: str, value: Callable[[Prompt], float | None], null: Values | None = None) -> Row:
        return Row(
            f"patching.{name}",
            f"{what}; {_MEDIAN}.",
            "ratio",
            "(m(kept) - m(nothing)) / (m(everything) - m(nothing)); what is not kept is set to its mean over reference "
            f"texts in the running model, refused below {params.minimum_effect:g} nats or {params.noise_multiple:g} "
            "standard errors of the reference",
            estimates.each(reading, value),
            reading.promised,
            null=None if null is None else (_RANDOM, null),
            limits=(
                "Nodes are ablated to a mean over reference texts; the effect is what sets the prompt apart from these.",
            ),
        )

    whole = estimates.faithfulness(lambda patched: patched.circuit, params)
    control = estimates.faithfulness(lambda patched: patched.random, params)
    bare = estimates.faithfulness(lambda patched: patched.circuit_without_errors, params)
    rest = estimates.faithfulness(lambda patched: patched.complement, params)
    null = estimates.each(reading, control)
    return [
        row("faithfulness", "How much of the effect is left when only the pruned circuit is kept", whole, null),
        row(
            "faithfulness_margin",
            "By how much the circuit keeps more of the effect than a random one of its size",
            lambda prompt: _difference(whole(prompt), control(prompt)),
        ),
        row("faithfulness_without_errors", "The same with every error node ablated", bare),
        row("complement", "How much of the effect is left when the circuit is ablated and all else is kept", rest),
        Row(
            "patching.effect",
            f"What ablating every feature and error takes from the metric, absolute; {_MEDIAN}.",
            "nats",
            "|m(everything) - m(nothing)|",
            estimates.each(reading, lambda prompt: abs(estimates.denominator(prompt.patched))),
            reading.promised,
        ),
    ]


def _core(reading: Reading, params: CircuitTraceParameters) -> list[Row]:
    method = f"edges kept by every one of {params.settings} pruning settings (CIRCUS, arXiv:2603.00523)"

    def row(name: str, what: str, unit: Unit, value: Callable[[Prompt], float | None]) -> Row:
        limits = ("Settings differ in how much they keep, so the core is close to what the strictest one keeps.",)
        found = estimates.each(reading, value)
        return Row(f"core.{name}", f"{what}; {_MEDIAN}.", unit, method, found, reading.promised, limits=limits)

    def stability(prompt: Prompt) -> float | None:
        kept = sum(prompt.edge_scores)
        return (
            sum(score * count for score, count in enumerate(prompt.edge_scores, 1)) / kept / len(prompt.edge_scores)
            if kept
            else None
        )

    def share(prompt: Prompt) -> float | None:
        kept = sum(prompt.edge_scores)
        return prompt.edge_scores[-1] / kept if kept else None

    return [
        row("features", "Features, without their position, at an end of a core edge", "count", lambda p: len(p.core)),
        row("edges", "Edges that every pruning setting keeps", "count", lambda p: p.edge_scores[-1]),
        row("edge_share", "Core edges as a share of the edges that any setting keeps", "proportion", share),
        row(
            "edge_stability",
            "Share of settings that keep an edge, mean over edges kept by any",
            "proportion",
            stability,
        ),
    ]


def _sizes(reading: Reading) -> list[Row]:
    words: dict[str, tuple[str, Callable[[Prompt], float | None]]] = {
        "features": ("Features active on the prompt, each at each position", lambda prompt: prompt.active_features),
        "nodes": ("Nodes of the pruned circuit", lambda prompt: prompt.nodes),
        "edges": ("Edges of the pruned circuit", lambda prompt: prompt.edges),
    }
    return [
        Row(f"size.{name}", f"{what}; {_MEDIAN}.", "count", "count", estimates.each(reading, value), reading.promised)
        for name, (what, value) in words.items()
    ]


def _stability(reading: Reading) -> list[Row]:
    null = (
        "prompts of other families and another label",
        estimates.unrelated_overlap(reading),
    )
    method = "Jaccard index of the circuits' features, each named without its position"
    family, pairs = estimates.family_overlap(reading), estimates.pair_overlap(reading)
    return [
        Row(
            "stability.family_overlap",
            f"How alike the circuit of a prompt is to those of its family and label, mean over these; {_MEDIAN}.",
            "proportion", method, family, len(family), null=null,
            limits=("Prompts of a family differ in their object, so this is a lower bound for mere rewording.",),
            counts="prompts with another of their family and label",
        ),
        Row(
            "stability.pair_overlap",
            "How alike the circuits of two matched prompts with and without the concept are; median over pairs.",
            "proportion", method, pairs, len(pairs), null=null, counts="matched pairs traced whole",
        ),
    ]  # fmt: skip


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
