"""What would the model say next with the direction taken out or put in, and what with random directions instead?

On the test split. Positive texts are asked with directions ablated, negative ones with directions added to the chosen
block, each random direction at the chosen one's norm, and with directions ablated for the divergence of their next token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import JsonValue

from dossier.errors import CollectionError
from dossier.language_model import WhiteBoxModel
from dossier.model import Trial
from evidence_collectors.interpretability.concept_direction import trials as keys
from evidence_collectors.interpretability.concept_direction.fit import prompt_of
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.trials import KIND, Texts, measured, unread
from evidence_collectors.interpretability.directions import (
    ablated,
    added,
    next_token,
    next_token_logs,
    own_seed,
    rounded,
)
from evidence_collectors.interpretability.reading import Vector, random_directions
from evidence_collectors.items.contrast import Contrast

Columns = dict[
    str, list[Vector]
]  # measurement -> (text,) for the direction itself, or one (text,) per random direction


@dataclass(frozen=True, eq=False)
class Pushed:
    """What is taken out and put in: a block's output, the direction (d,), random ones at its norm, and where they are added."""

    point: str
    direction: Vector
    random: Sequence[Vector]
    where: Literal["all", "last_prompt"]


def log_odds_trials(
    model: WhiteBoxModel,
    texts: Texts,
    params: DirectionParameters,
    seed: str,
    handle: tuple[int, Vector, Sequence[int]],
) -> Iterator[Trial]:
    """Yield the trials of the arm ``log_odds``. ``handle`` is the block, the direction (d,) and the behaviour's tokens."""
    layer, direction, token_ids = handle
    units = random_directions(own_seed(seed, KIND, "intervention"), params.random_interventions, len(direction))
    random = [unit * np.linalg.norm(direction) for unit in units]
    for label, asked in (("positive", _ablations), ("negative", _additions)):
        own = [text for text in texts.answered if text.label == label]
        try:
            what = Pushed(model.layout.residual[layer], direction, random, params.add_at)
            columns = asked(model, own, token_ids, what) if own else {}
        except CollectionError as error:
            for text in own:
                yield unread(seed, keys.text_key(text, "log_odds"), error.message)
            continue
        for row, text in enumerate(own):
            found: dict[str, JsonValue] = {
                name: [*rounded([values[row] for values in column])] for name, column in columns.items()
            }
            yield measured(seed, keys.text_key(text, "log_odds"), {"label": label, **found})


def _ablations(
    model: WhiteBoxModel,
    texts: Sequence[Contrast],
    token_ids: Sequence[int],
    what: Pushed,
) -> Columns:
    prompts = [prompt_of(text) for text in texts]
    direction, random = what.direction, what.random
    return {
        "plain": [next_token(model, prompts, token_ids).log_odds],
        "ablated": [next_token(model, prompts, token_ids, edits=ablated(model, direction)).log_odds],
        "random_ablated": [next_token(model, prompts, token_ids, edits=ablated(model, one)).log_odds for one in random],
    }


def _additions(
    model: WhiteBoxModel,
    texts: Sequence[Contrast],
    token_ids: Sequence[int],
    what: Pushed,
) -> Columns:
    prompts = [prompt_of(text) for text in texts]
    point, direction, random, where = what.point, what.direction, what.random, what.where
    reference = next_token_logs(model, prompts)
    return {
        "plain": [next_token(model, prompts, token_ids).log_odds],
        "added": [next_token(model, prompts, token_ids, edits=added(point, direction, where)).log_odds],
        "random_added": [
            next_token(model, prompts, token_ids, edits=added(point, one, where)).log_odds for one in random
        ],
        "divergence": [
            next_token(model, prompts, token_ids, edits=ablated(model, direction), reference=reference).divergence
        ],
        "random_divergence": [
            next_token(model, prompts, token_ids, edits=ablated(model, one), reference=reference).divergence
            for one in random
        ],
    }
