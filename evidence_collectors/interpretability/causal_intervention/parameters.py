"""What can be chosen about an intervention, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dossier.errors import ConfigError
from dossier.model import Number, Parameters, Text, Value
from evidence_collectors.interpretability.concept_direction.parameters import check_position
from evidence_collectors.parameters import parse_values

KIND = "interpretability.causal_intervention"
Operation = Literal["ablate", "add", "clamp"]
MOST_DOSES = 6


class InterventionParameters(Value):
    """Parameters of ``interpretability.causal_intervention``; controls may be added and limits tightened, never the reverse.

    Attributes:
        layer: the block at whose output the direction is fitted, added and clamped, counted from 0.
        position: where the direction is fitted, if no file brings it: `last_prompt`, `last_prompt-k` or `response_mean`.
        operations: `ablate` takes the direction out everywhere, `add` adds it and `clamp` sets its coordinate, at every token.
        every_layer: whether `add` and `clamp` act at every block, each in units of its own mean norm, or at ``layer`` alone.
        strengths: rising, in units of the mean residual norm; each is used with both signs. Dose k is the k-th of them.
        markers: literal phrases that show the behaviour.
        match: whether a marker counts at the start of the answer or anywhere.
        behaviour_tokens: how answers that show the behaviour begin; the first token of each is counted for the log-odds.
        splits: which texts are asked.
        max_tokens: the most tokens an answer may have.
        random_directions: controls drawn evenly from the sphere, at equal norm.
        neutral_directions: controls that are differences of means of neutral texts, at equal norm.
        feature_controls: controls that are decoder rows of random features; needs the input `dictionary`.
        control_arms: whether controls run in every arm or only in `ablate` and at the strongest doses.
        control_items: how many texts of each class controls are asked on, the first by id; None means all.
        minimum_items: texts a class must have.
        interval_level: the coverage the intervals claim.
    """

    layer: Annotated[int, Field(ge=0, le=999)]
    position: str = "last_prompt"
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)] = ("ablate", "add")
    every_layer: bool = False
    strengths: Annotated[
        tuple[Annotated[Number, Field(gt=0.0, le=100.0)], ...], Field(min_length=1, max_length=MOST_DOSES)
    ] = (0.25, 0.5, 1.0)
    markers: Annotated[tuple[Text, ...], Field(min_length=1)]
    match: Literal["start", "anywhere"] = "start"
    behaviour_tokens: Annotated[tuple[Text, ...], Field(min_length=1)]
    splits: Annotated[tuple[Literal["test", "transfer"], ...], Field(min_length=1)] = ("test",)
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 64
    temperature: Annotated[Number, Field(ge=0.0, le=10.0)] = 0.0
    random_directions: Annotated[int, Field(ge=20, le=99)] = 20
    neutral_directions: Annotated[int, Field(ge=5, le=99)] = 5
    feature_controls: Annotated[int, Field(ge=0, le=99)] = 0
    control_arms: Literal["all", "strongest"] = "strongest"
    control_items: Annotated[int, Field(ge=20, le=100_000)] | None = None
    minimum_items: Annotated[int, Field(ge=20, le=1_000_000)] = 20
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95


def parse(parameters: Parameters) -> InterventionParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a list with a member twice, or a loosened limit.
    """
    params = parse_values(InterventionParameters, parameters, kind=KIND)
    check_position(params.position, kind=KIND)
    if list(params.strengths) != sorted(params.strengths):
        raise ConfigError(f"{KIND}: strengths must rise, got {list(params.strengths)}")
    if any(not marker.strip() for marker in params.markers):
        raise ConfigError(f"{KIND}: a marker without a letter would be found in every answer")
    return params
