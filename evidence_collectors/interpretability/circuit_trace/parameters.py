"""What can be chosen about a circuit trace, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dossier.errors import ConfigError
from dossier.model import Number, Parameters, Value
from evidence_collectors.items.contrast import Label, Split
from evidence_collectors.parameters import parse_values

KIND = "interpretability.circuit_trace"
Share = Annotated[Number, Field(gt=0.0, lt=1.0)]


class CircuitTraceParameters(Value):
    """Parameters of ``interpretability.circuit_trace``; limits of estimability may be tightened, never loosened.

    Attributes:
        traced: the splits whose texts are traced, at most ``prompts`` of them, with ``labels``.
        reference: the splits whose texts give the means of mean ablation; none of them is traced.
        aligned_positions: the last positions of a text whose means are their own; those before share one.
        left_out: leading positions whose MLPs have no node, and are never changed.
        logits, target_probability: the most probable next tokens are the targets, at most so many, until they reach it.
        feature_nodes: the most features a graph holds, the most influential ones.
        node_share, edge_share: cumulative influence kept by the circuit that is patched.
        grid_nodes, grid_edges: the pruning settings the consensus is taken over, every pair of them.
        interventions: features a prompt that are taken away to check the graph's predictions.
        minimum_effect: nats; with less between the whole model and the one with everything ablated, a share of it is
            noise. ``noise_multiple``: and it is at least so many standard errors, as the choice of reference texts gives it.
        maximum_refused: of the prompts, the share that may lack a quantity for that reason.
        drawn_nodes: nodes of the graph that goes into the pack, the most influential ones.
    """

    traced: Annotated[tuple[Split, ...], Field(min_length=1)] = ("test", "transfer")
    labels: Annotated[tuple[Label, ...], Field(min_length=1)] = ("positive", "negative")
    reference: Annotated[tuple[Split, ...], Field(min_length=1)] = ("train",)
    prompts: Annotated[int, Field(ge=2, le=1000)] = 24
    reference_texts: Annotated[int, Field(ge=8, le=10_000)] = 128
    aligned_positions: Annotated[int, Field(ge=0, le=64)] = 8
    left_out: Annotated[int, Field(ge=1, le=64)] = 1
    logits: Annotated[int, Field(ge=1, le=50)] = 5
    target_probability: Share = 0.95
    feature_nodes: Annotated[int, Field(ge=50, le=10_000)] = 400
    node_share: Share = 0.8
    edge_share: Share = 0.98
    grid_nodes: Annotated[tuple[Share, ...], Field(min_length=2, max_length=10)] = (0.5, 0.6, 0.7, 0.8, 0.9)
    grid_edges: Annotated[tuple[Share, ...], Field(min_length=2, max_length=10)] = (0.85, 0.9, 0.95, 0.98)
    interventions: Annotated[int, Field(ge=8, le=200)] = 20
    minimum_effect: Annotated[Number, Field(ge=0.5)] = 0.5
    noise_multiple: Annotated[Number, Field(ge=3.0)] = 3.0
    maximum_refused: Annotated[Number, Field(ge=0.0, le=0.2)] = 0.2
    minimum_prompts: Annotated[int, Field(ge=10)] = 10
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95
    permutations: Annotated[int, Field(ge=200, le=10_000)] = 500
    drawn_nodes: Annotated[int, Field(ge=10, le=100)] = 60

    @property
    def settings(self) -> int:
        """How many pruning settings the consensus is taken over."""
        return len(self.grid_nodes) * len(self.grid_edges)


def parse(parameters: Parameters) -> CircuitTraceParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a list with a member twice, a loosened limit, or a split that is
            both traced and reference.
    """
    params = parse_values(CircuitTraceParameters, parameters, kind=KIND)
    both = sorted(set(params.traced) & set(params.reference))
    if both:
        raise ConfigError(f"{KIND}: split {both[0]!r} is traced and reference at once")
    return params
