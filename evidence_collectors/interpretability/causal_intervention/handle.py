"""Which direction is pushed, by what edits, and what does the model then answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dossier.errors import CollectionError
from dossier.language_model import Edit, WhiteBoxModel
from dossier.model import Completion, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.causal_intervention.parameters import KIND, InterventionParameters
from evidence_collectors.interpretability.causal_intervention.trials import Arm, Texts
from evidence_collectors.interpretability.directions import ablated, difference_of_means, next_token
from evidence_collectors.interpretability.reading import Change, Vector, add, clamp, completions, mean_norms, residuals
from evidence_collectors.items.contrast import Contrast


@dataclass(frozen=True)
class Run:
    """One run: the model opened, its texts, further files by role, what was asked for."""

    model: WhiteBoxModel
    texts: Texts
    files: Mapping[str, Path]
    params: InterventionParameters
    seed: str


@dataclass(frozen=True, eq=False)
class Handle:
    """What is pushed: a vector (d,), where it came from, and the mean residual norm at every block's output."""

    vector: Vector
    source: str
    norms: Mapping[str, float]
    point: str

    @property
    def unit(self) -> Vector:
        """The direction at length 1."""
        unit: Vector = self.vector / np.linalg.norm(self.vector)
        return unit


def handle_of(run: Run) -> Handle:
    """Return the direction: from the file of the role ``direction``, else fitted on the training texts.

    Raises:
        CollectionError: no such block, a file that holds no direction of this model's width, or nothing to fit on.
    """
    residual = run.model.layout.residual
    if run.params.layer >= len(residual):
        raise CollectionError(f"the model has {len(residual)} blocks, so there is no block {run.params.layer}")
    point = residual[run.params.layer]
    prompts = [replace(text.continuation(), text="") for text in run.texts.train or run.texts.asked]
    points = list(residual) if run.params.every_layer else [point]
    norms = mean_norms(run.model, prompts, points)
    if "direction" in run.files:
        vector = read_direction(run.files["direction"], width=run.model.layout.d_model, layer=run.params.layer)
        return Handle(vector, "file", norms, point)
    continuations = [text.continuation() for text in run.texts.train]
    found = residuals(run.model, continuations, [point], position=run.params.position)[point]
    positive = np.array([text.label == "positive" for text in run.texts.train], dtype=bool)
    return Handle(difference_of_means(found[positive], found[~positive]), "train", norms, point)


def read_direction(path: Path, *, width: int, layer: int) -> Vector:
    """Return the vector of a file as `interpretability.concept_direction` writes it.

    Raises:
        CollectionError: not safetensors, no vector of this width, or one that was fitted at another block.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CollectionError(f"{path}: cannot be read as safetensors: {error}") from error
    vector = np.asarray(arrays.get("direction", np.empty(0)), dtype=np.float64)
    if vector.shape != (width,) or not np.isfinite(vector).all() or not np.linalg.norm(vector) > 0.0:
        raise CollectionError(f"{path}: expected a finite tensor 'direction' of shape ({width},), got {vector.shape}")
    fitted = [int(value) for value in np.asarray(arrays.get("layer", np.empty(0))).reshape(-1)]
    if fitted and fitted != [layer]:
        raise CollectionError(
            f"{path}: the direction was fitted at block {fitted[0]}, the parameter `layer` says {layer}"
        )
    return vector


def edits_of(model: WhiteBoxModel, arm: Arm, unit: Vector, handle: Handle, *, every_layer: bool) -> tuple[Edit, ...]:
    """Return the edits of one arm along a unit vector."""
    if arm.strength is None:
        return tuple(ablated(model, unit))
    points = handle.norms if every_layer else (handle.point,)
    return tuple(Edit(point, _change(arm, unit, handle.norms[point])) for point in points)


def _change(arm: Arm, unit: Vector, norm: float) -> Change:
    assert arm.strength is not None
    level = arm.strength * norm
    return add(level * unit) if arm.operation == "add" else clamp(unit, level)


@dataclass(frozen=True, eq=False)
class Answers:
    """What came back for some texts: completions and log-odds, in the order asked."""

    completions: tuple[Completion, ...]
    log_odds: Vector


def answers(run: Run, texts: Sequence[Contrast], name: str, edits: Sequence[Edit], tokens: Sequence[int]) -> Answers:
    """Return answers under edits. ``name`` decides the seeds."""
    seeds = [trial_seed(run.seed, KIND, TrialKey(item=text.id, arm=name, repeat=0)) for text in texts]
    found = completions(
        run.model,
        texts,
        seeds=seeds,
        max_tokens=run.params.max_tokens,
        temperature=run.params.temperature,
        edits=edits,
    )
    prompts = [replace(text.continuation(), text="") for text in texts]
    odds = next_token(run.model, prompts, tokens, edits=edits).log_odds
    return Answers(tuple(found), odds)
