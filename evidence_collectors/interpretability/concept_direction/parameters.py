"""What can be chosen about a concept direction, and what cannot be loosened?"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from dossier.errors import ConfigError
from dossier.model import Number, Parameters, Slug, Text, Value
from evidence_collectors.parameters import parse_values

POSITION = re.compile(r"last_prompt(-[1-9][0-9]{0,2})?|response_mean")


class DirectionParameters(Value):
    """Parameters of ``interpretability.concept_direction``; what makes a value estimable may be tightened, never loosened.

    Attributes:
        layers: blocks whose output is a candidate, counted from 0.
        positions: `last_prompt`, `last_prompt-k` or `response_mean`, each with every layer a candidate.
        behaviour_tokens: how answers that show the behaviour begin; the first token of each is counted.
        add_at: whether the direction is added at every token, as in the source, or at the last of the prompt alone.
        kl_max: in nats; a candidate whose ablation moves the next token of harmless texts further does not qualify.
        control_set: the `set` of the items on which the threshold of the recall is frozen.
        recall_fpr: the rate of false alarms that the threshold may have on the control set.
        random_directions: directions drawn evenly from the sphere, the null of every projection.
        shuffles: directions and probes fitted to permuted labels, another null.
        twins: models of this architecture with random weights, a third null.
        random_interventions: random directions that are ablated and added as the chosen one is.
        half_splits: how often the training texts are cut in half to fit the direction twice.
        probe_ridge: penalty on the probe's squared weights, on standardised activations.
        minimum_items: texts a class must have in a split that a value is made from.
        interval_level: the coverage the intervals claim.
    """

    layers: Annotated[tuple[Annotated[int, Field(ge=0, le=999)], ...], Field(min_length=1)]
    positions: Annotated[tuple[str, ...], Field(min_length=1)] = ("last_prompt",)
    behaviour_tokens: Annotated[tuple[Text, ...], Field(min_length=1)]
    add_at: Literal["all", "last_prompt"] = "all"
    kl_max: Annotated[Number, Field(gt=0.0, le=0.1)] = 0.1
    control_set: Slug | None = None
    recall_fpr: Annotated[Number, Field(ge=0.001, le=0.05)] = 0.01
    random_directions: Annotated[int, Field(ge=50, le=1000)] = 100
    shuffles: Annotated[int, Field(ge=20, le=1000)] = 50
    twins: Annotated[int, Field(ge=1, le=20)] = 3
    random_interventions: Annotated[int, Field(ge=5, le=200)] = 20
    half_splits: Annotated[int, Field(ge=10, le=200)] = 20
    probe_ridge: Annotated[Number, Field(gt=0.0, le=1e6)] = 10.0
    minimum_items: Annotated[int, Field(ge=20, le=1_000_000)] = 20
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95


def parse(parameters: Parameters) -> DirectionParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a list with a member twice, or a loosened limit.
    """
    params = parse_values(DirectionParameters, parameters, kind="interpretability.concept_direction")
    for position in params.positions:
        check_position(position, kind="interpretability.concept_direction")
    return params


def check_position(position: str, *, kind: str) -> None:
    """Refuse a position that nothing reads. Raises ConfigError."""
    if not POSITION.fullmatch(position):
        raise ConfigError(
            f"{kind}: position {position!r} is unknown",
            hint="Positions: last_prompt, last_prompt-k for k tokens earlier, response_mean.",
        )
