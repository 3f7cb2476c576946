"""What does a trial of a circuit trace hold? The numbers the observations are made of, read strictly.

One trial a prompt holds its scores, circuit, patching and interventions; one self-test holds what was checked before any
prompt was traced. Features are named without their position, as layer * width + index, and never by a meaning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from dossier.errors import IntegrityError
from dossier.model import Count, Number, Slug, Trial, TrialKey, Value
from evidence_collectors.interpretability.circuit_trace.parameters import KIND
from evidence_collectors.items.contrast import Label

SELF_TEST = "self-test"
TRACE = "trace"
_Share = Annotated[Number, Field(ge=-1e-6, le=1.0 + 1e-6)]


class Scored(Value):
    """Scores of a graph; see `graph`."""

    replacement: _Share
    completeness: _Share
    error_share: _Share


class Patched(Value):
    """The metric, in nats, with nothing taken away, everything, all but the circuit, and so on.

    ``random`` keeps a random circuit with as many features and errors a layer; ``empty_halves`` ablates everything to the
    means over one half of the reference texts each.
    """

    whole: Number
    empty: Number
    empty_halves: tuple[Number, Number]
    circuit: Number
    circuit_without_errors: Number
    complement: Number
    random: Number


class Prompt(Value):
    """What was measured on one prompt.

    ``edge_scores[k]`` counts the edges that k + 1 pruning settings keep. ``circuit`` and ``core`` are features. ``predicted``
    and ``observed`` are falls of the metric, in nats, when one feature is taken away, in the order of the interventions.
    ``cross_check`` is the largest difference between our scores and the library's own.
    """

    label: Label
    family: Slug
    pair: Slug | None
    tokens: Count
    active_features: Count
    graph_features: Count
    target_share: _Share
    scores: Scored
    shuffled: Scored
    cross_check: Annotated[Number, Field(ge=0.0)]
    nodes: Count
    edges: Count
    core_nodes: Count
    edge_scores: tuple[Count, ...]
    circuit: tuple[Count, ...]
    core: tuple[Count, ...]
    patched: Patched
    predicted: tuple[Number, ...]
    observed: tuple[Number, ...]


class SelfTest(Value):
    """What was checked before any prompt was traced.

    ``parity``: captured activations against the engine's own, a share of their norm. ``logits``: the library's model against
    the subject, the largest difference as a share of the largest logit. ``unexplained``: by how much a graph fails to add
    up to the logits, a share of them. ``embedding_scale``: by what the embedding module multiplies its rows. ``fvu`` and
    ``l0``: of the transcoders on the ``tokens`` of the traced prompts, a value a layer.
    """

    parity: Annotated[Number, Field(ge=0.0)]
    logits: Annotated[Number, Field(ge=0.0)]
    unexplained: Annotated[Number, Field(ge=0.0)]
    embedding_scale: Number
    fvu: tuple[Annotated[Number, Field(ge=0.0)], ...]
    l0: tuple[Annotated[Number, Field(ge=0.0)], ...]
    tokens: Count


_Measured = TypeVar("_Measured", Prompt, SelfTest)


@dataclass(frozen=True)
class Reading:
    """A run: prompts by item id, sorted, the ids of those that failed, and the self-test where it is there."""

    prompts: tuple[tuple[str, Prompt], ...]
    failed: tuple[str, ...]
    self_test: SelfTest | None

    @property
    def promised(self) -> int:
        """How many prompts there are, failed ones too."""
        return len(self.prompts) + len(self.failed)


def read(trials: Sequence[Trial], *, settings: int) -> Reading:
    """Return the reading, the same for any order of trials; ``settings`` is how many prunings each edge was scored under.

    Raises:
        IntegrityError: a trial this protocol cannot have made, or a prompt that is there twice.
    """
    prompts: dict[str, Prompt] = {}
    failed: list[str] = []
    self_test: SelfTest | None = None
    for trial in sorted(trials, key=lambda one: one.key.order):
        key = trial.key
        if key.order == (SELF_TEST, SELF_TEST, 0):
            self_test = None if trial.error is not None else _parse(SelfTest, trial)
        elif key.arm != TRACE or key.repeat or key.item in prompts or key.item in failed:
            raise IntegrityError(f"{KIND}: a trial {'/'.join(map(str, key.order))}, which this protocol does not ask")
        elif trial.error is not None:
            failed.append(key.item)
        else:
            prompts[key.item] = _checked(_parse(Prompt, trial), key, settings)
    return Reading(tuple(prompts.items()), tuple(failed), self_test)


def _checked(prompt: Prompt, key: TrialKey, settings: int) -> Prompt:
    if len(prompt.predicted) != len(prompt.observed):
        raise IntegrityError(f"{KIND}: {key.item}: predicted and observed differ in number")
    if len(prompt.edge_scores) != settings:
        raise IntegrityError(
            f"{KIND}: {key.item}: edges were scored under {len(prompt.edge_scores)} settings, planned were {settings}"
        )
    return prompt


def _parse(model: type[_Measured], trial: Trial) -> _Measured:
    try:
        return model.model_validate_json(json.dumps(dict(trial.measurements), allow_nan=False))
    except (ValidationError, ValueError) as error:
        what = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            what = f"{'/'.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise IntegrityError(f"{KIND}: trial {trial.key.item}: measurements/{what}") from error
