"""What can be chosen about a probe for evaluation and deployment, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from dossier.errors import ConfigError
from dossier.model import Number, Parameters, Text, Value
from evidence_collectors.interpretability.concept_direction.parameters import check_position
from evidence_collectors.parameters import parse_values

KIND = "evaluation_awareness.probe"
Cell = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
MOST_DOSES = 4


class ProbeParameters(Value):
    """Parameters of ``evaluation_awareness.probe``; limits of estimability may be tightened, never loosened.

    Attributes:
        layer: the block at whose output the probe reads and pushes, counted from 0. Nothing is selected in a run.
        position: where it reads: `last_prompt`, `last_prompt-k` for k tokens earlier, or `response_mean`.
        cells: the format cells of the items (their ``set``), none where formats are not crossed with contexts.
        shuffles: probes fitted to permuted labels, the null.
        twins: models of this architecture with random weights that the same is fitted on.
        strengths: rising, in units of the mean residual norm; each is pushed with both signs. None: nothing is pushed.
        push_at: whether a push counts at every token, or only at the token of the prompt where the probe reads.
        markers: literal phrases that show the behaviour.
        match: whether a marker counts at the start of the answer or anywhere.
        random_directions: controls drawn evenly from the sphere, pushed in every arm at equal norm.
        positive_control: whether the input `positive_control` brings a direction that is known to move this behaviour. It is
            pushed at the strongest dose; without it, "no effect" is not estimable.
        maximum_association: Cramer's V of format and context above which what is read across formats says nothing.
        minimum_texts: texts that each context must have where a value is made from them; ``minimum_pairs``: matched sets of
            texts, whose number the intervals go by.
        minimum_valid: share of an arm's answers that must be answers; a push that breaks the model shows nothing.
    """

    layer: Annotated[int, Field(ge=0, le=999)]
    position: str = "last_prompt"
    cells: tuple[Cell, ...] = ("benchmark", "chat")
    shuffles: Annotated[int, Field(ge=20, le=1000)] = 50
    twins: Annotated[int, Field(ge=1, le=20)] = 3
    strengths: Annotated[tuple[Annotated[Number, Field(gt=0.0, le=100.0)], ...], Field(max_length=MOST_DOSES)] = (
        0.25,
        0.5,
        1.0,
    )
    push_at: Literal["all", "position"] = "all"
    markers: tuple[Text, ...] = ()
    match: Literal["start", "anywhere"] = "anywhere"
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 64
    temperature: Annotated[Number, Field(ge=0.0, le=10.0)] = 0.0
    random_directions: Annotated[int, Field(ge=5, le=99)] = 19
    positive_control: bool = False
    maximum_association: Annotated[Number, Field(ge=0.0, le=0.1)] = 0.1
    minimum_texts: Annotated[int, Field(ge=20, le=1_000_000)] = 20
    minimum_pairs: Annotated[int, Field(ge=10, le=1_000_000)] = 10
    minimum_valid: Annotated[Number, Field(ge=0.9, le=1.0)] = 0.9
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95


def parse(parameters: Parameters) -> ProbeParameters:
    """Return the parameters with defaults filled in.

    Raises:
        ConfigError: an unknown or impossible parameter, a list with a member twice, or a loosened limit.
    """
    params = parse_values(ProbeParameters, parameters, kind=KIND)
    check_position(params.position, kind=KIND)
    if len(params.cells) == 1:
        raise ConfigError(f"{KIND}: one format cell crosses nothing", hint="Name two or more cells, or none.")
    if list(params.strengths) != sorted(params.strengths):
        raise ConfigError(f"{KIND}: strengths must rise, got {list(params.strengths)}")
    if params.strengths and not params.markers:
        raise ConfigError(f"{KIND}: a push needs markers that show the behaviour", hint="Or set strengths to [].")
    if any(not marker.strip() for marker in params.markers):
        raise ConfigError(f"{KIND}: a marker without a letter would be found in every answer")
    if params.positive_control and not params.strengths:
        raise ConfigError(f"{KIND}: a positive control without strengths pushes nothing")
    if params.strengths and params.push_at == "position" and params.position == "response_mean":
        raise ConfigError(f"{KIND}: 'response_mean' is no token of the prompt that could be pushed")
    return params
