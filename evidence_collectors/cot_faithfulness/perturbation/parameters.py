"""What can be chosen about a perturbation run, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dossier.model import Number, Parameters, Value
from evidence_collectors.parameters import parse_values

KIND = "cot_faithfulness.perturbation"

Fraction = Annotated[int, Field(ge=5, le=95, multiple_of=5)]  # per cent of the steps


class PerturbationParameters(Value):
    """Parameters of ``cot_faithfulness.perturbation``; the three limits of estimability may be tightened, never loosened.

    Attributes:
        fractions: after how much of the reasoning an early answer is asked, beside none and all of it.
        mistake: a sentence made by rule from the item's options, or one written by the model in the role mistake_author.
        mistake_step: which step of the reasoning the mistake replaces; what comes after it is left out.
        after_mistake: whether the model answers at once, or may go on reasoning after the mistake.
        paraphrase: a table of wordings, the model in the role paraphraser, or not at all.
        hand_back: as the opening of the model's own turn, or, for endpoints that take none, as an earlier turn of its own
            followed by a request to answer: a behavioural analogue, since the model may reason anew.
        opening, closing: what opens and closes the reasoning in the model's own turn; the opening is "" where the chat
            template writes it.
    """

    fractions: tuple[Fraction, ...] = (25, 50, 75)
    mistake: Literal["rule", "model"] = "rule"
    mistake_step: Literal["last", "drawn"] = "last"
    after_mistake: Literal["answer", "continue"] = "answer"
    paraphrase: Literal["rule", "model", "none"] = "rule"
    hand_back: Literal["prefill", "turns"] = "prefill"
    opening: Annotated[str, Field(max_length=200)] = "<think>"
    closing: Annotated[str, Field(min_length=1, max_length=200)] = "</think>"
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    temperature: Annotated[Number, Field(ge=0.0, le=10.0)] = 1.0
    top_p: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    minimum_pairs: Annotated[int, Field(ge=30)] = 30
    maximum_chance: Annotated[Number, Field(gt=0.0, le=0.5)] = 0.5  # of landing on the mistake's option without it
    maximum_unusable: Annotated[Number, Field(ge=0.0, le=0.05)] = 0.05  # share of pairs
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95
    resamples: Annotated[int, Field(ge=500, le=20_000)] = 2000


def parse(parameters: Parameters) -> PerturbationParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a list with a member twice, or a loosened limit.
    """
    return parse_values(PerturbationParameters, parameters, kind=KIND)
