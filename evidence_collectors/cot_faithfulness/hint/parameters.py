"""What can be chosen about a hint run, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dossier.errors import ConfigError
from dossier.model import Number, Parameters, Value
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, Family
from evidence_collectors.cot_faithfulness.hint.reading import HINTS, Hint
from evidence_collectors.parameters import parse_values

KIND = "cot_faithfulness.hint"


class HintParameters(Value):
    """Parameters of ``cot_faithfulness.hint``; the three limits of estimability may be tightened, never loosened.

    Attributes:
        judge: what the model in the role ``judge`` is asked about the reasoning, or no judge at all.
        labelled: how many texts the file in the role ``labels`` holds; 0 without one.
        labels_drawn: whether these texts are a random sample of switches of an earlier run like this one, family by family,
            or were put together otherwise; the prediction-powered value needs the first.
    """

    families: Annotated[tuple[Family, ...], Field(min_length=1)] = FAMILIES
    hints: Annotated[tuple[Hint, ...], Field(min_length=1)] = HINTS
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    temperature: Annotated[Number, Field(ge=0.0, le=10.0)] = 1.0
    top_p: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    minimum_switches: Annotated[int, Field(ge=30)] = 30
    minimum_alpha: Annotated[Number, Field(ge=0.5, le=1.0)] = 0.5
    maximum_unusable: Annotated[Number, Field(ge=0.0, le=0.05)] = 0.05  # share of a cell's pairs
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95
    resamples: Annotated[int, Field(ge=500, le=20_000)] = 2000
    judge: Literal["none", "mention", "reliance"] = "none"
    judge_max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    judge_temperature: Annotated[Number, Field(ge=0.0, le=10.0)] = 0.0
    labelled: Annotated[int, Field(ge=0, le=100_000)] = 0
    labels_drawn: Literal["otherwise", "from_switches"] = "otherwise"


def parse(parameters: Parameters) -> HintParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a list with a member twice, a loosened limit, labels without a
            judge, or a way of drawing labels without labels.
    """
    params = parse_values(HintParameters, parameters, kind=KIND)
    if params.labelled and params.judge == "none":
        raise ConfigError(
            f"cot_faithfulness.hint: labelled is {params.labelled}, and no judge is planned to read the labelled texts",
            hint='Set judge = "mention" or "reliance", or labelled = 0.',
        )
    if params.labels_drawn != "otherwise" and not params.labelled:
        raise ConfigError(
            "cot_faithfulness.hint: labels_drawn says how labels were drawn, and labelled is 0",
            hint="Set labelled to the number of labels in the file.",
        )
    return params
