"""What can be chosen about a reading of sparse features, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from dossier.model import Number, Parameters, Text, Value
from evidence_collectors.parameters import parse_values

KIND = "interpretability.sae_features"
RECALL_FPR = 0.01  # the threshold of the recall flags one control in a hundred, at most
Position = Annotated[
    str, StringConstraints(pattern=r"^(?:last_prompt(?:-[0-9]{1,3})?|(?:prompt|response)_(?:max|mean))$")
]


class SaeFeaturesParameters(Value):
    """Parameters of ``interpretability.sae_features``.

    The layer is the dictionary's own. ``minimum_items`` (a class in each split that is used), ``minimum_controls``,
    ``minimum_lift``, ``maximum_parity`` and ``maximum_fvu`` are limits of estimability: they may be tightened, never loosened.
    """

    position: Position = "last_prompt"
    point: str = ""  # where the dictionary's files do not say what it was trained on
    top_k: Annotated[int, Field(ge=1, le=16)] = 4
    random_sets: Annotated[int, Field(ge=20, le=200)] = 20
    behaviour_tokens: tuple[
        Text, ...
    ] = ()  # texts whose first tokens are the behaviour, such as refusals; () = no ablation
    compare: bool = False  # with the input `baseline`, an earlier version of the model
    changes: Annotated[int, Field(ge=1, le=32)] = 8  # most changed features that are followed up
    control_set: str = ""  # the items' `set` on which false alarms are counted; "" = none
    other_weights: bool = False  # the dictionary was knowingly trained on other weights than the subject's
    ridge: Annotated[Number, Field(gt=0.0, le=1e6)] = 1.0  # of the dense probe, on standardised activations
    top_tokens: Annotated[int, Field(ge=1, le=50)] = 8
    top_texts: Annotated[int, Field(ge=1, le=50)] = 5
    permutations: Annotated[int, Field(ge=500, le=10_000)] = 2000
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95
    minimum_items: Annotated[int, Field(ge=20)] = 20
    minimum_controls: Annotated[int, Field(ge=300)] = 1000
    minimum_lift: Annotated[Number, Field(ge=0.5, le=50.0)] = 0.5  # of the behaviour's log-odds on positives, in nats
    maximum_parity: Annotated[Number, Field(gt=0.0, le=1e-2)] = 1e-2
    maximum_fvu: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0


def parse(parameters: Parameters) -> SaeFeaturesParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a behaviour token given twice, or a loosened limit.
    """
    return parse_values(SaeFeaturesParameters, parameters, kind=KIND)
