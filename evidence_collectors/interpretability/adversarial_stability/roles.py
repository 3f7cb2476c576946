"""Which further inputs can a stability run take: a direction, a dictionary, the core of a circuit?

``direction``: a safetensors file with one tensor (d,), or several of which one is named ``direction``. ``dictionary``: a folder
that `evidence_collectors.models.dictionary_files` reads; its features are then ranked in place of a module's coordinates.
``core``: JSON ``{"nodes": [{"point": module path, "index": coordinate}]}``, the nodes a circuit trace kept, as coordinates of
points; a node survives an attack if it keeps half of its mean activation on positive texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.language_model import Layout
from dossier.model import Count, Text, Value
from evidence_collectors.interpretability.adversarial_stability.parameters import KIND, StabilityParameters
from evidence_collectors.interpretability.reading import Matrix, Vector

ROWS = 256  # texts whose features are computed at a time


class Node(Value):
    """One coordinate of a point."""

    point: Text
    index: Count


class Core(Value):
    """The nodes a circuit trace kept."""

    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=10_000)]


@dataclass(frozen=True, eq=False)
class Roles:
    """The inputs, opened. ``feature_point`` is where features are read; the dictionary turns activations into features."""

    feature_point: str
    direction: Vector | None
    dictionary: Any
    core: tuple[Node, ...]

    def points(self, point: str) -> list[str]:
        """Return every point a pass must read, each once."""
        return list(dict.fromkeys([point, self.feature_point, *(node.point for node in self.core)]))

    def features(self, at: Mapping[str, Matrix]) -> NDArray[np.floating]:
        """Return (n, F): the features of the texts, from what passed the points."""
        values = at[self.feature_point]
        if self.dictionary is None:
            return values
        import torch

        parts = [torch.as_tensor(values[start : start + ROWS]) for start in range(0, len(values), ROWS)]
        found = [self.dictionary.encode(part.float()).float().numpy() for part in parts]
        return np.concatenate(found) if found else np.empty((0, self.dictionary.width), dtype=np.float32)


def opened_roles(inputs: Inputs, params: StabilityParameters) -> Roles:
    """Return the inputs by role, read.

    Raises:
        CollectionError: a role the parameters need is missing, or a file is not of the described form or another model's.
    """
    layout = inputs.opened().layout
    for role, needed in (("dictionary", params.use_dictionary), ("core", params.use_core)):
        if needed != (role in inputs.files):
            raise CollectionError(
                f"{KIND}: use_{role} is {str(needed).lower()} and the input {role!r} is "
                f"{'given' if role in inputs.files else 'missing'}",
                hint=f"Set the parameter use_{role} exactly where the input is given.",
            )
    dictionary, point = None, params.feature_point or _mlp_of(params.point, layout)
    if params.use_dictionary:
        from evidence_collectors.models import dictionaries, dictionary_files

        dictionary = dictionary_files.load(inputs.files["dictionary"])
        point = dictionaries.point_of(dictionary, layout, point=params.feature_point)
        dictionaries.check_fits(dictionary, inputs.subject.subject, width=layout.d_model, point=point)
    return Roles(
        feature_point=point,
        direction=_direction(inputs.files["direction"]) if "direction" in inputs.files else None,
        dictionary=dictionary,
        core=_core(inputs.files["core"]) if params.use_core else (),
    )


def _mlp_of(point: str, layout: Layout) -> str:
    """Return the MLP of the block a point of the residual stream belongs to; the last one where it belongs to none."""
    name = point.removesuffix(":in")
    return layout.mlp[layout.residual.index(name)] if name in layout.residual else layout.mlp[-1]


def _direction(path: Path) -> Vector:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise CollectionError(f"{path}: not a safetensors file: {error}") from error
    chosen = tensors.get("direction") if len(tensors) > 1 else next(iter(tensors.values()), None)
    if chosen is None or chosen.ndim != 1 or not np.isfinite(chosen).all():
        raise CollectionError(
            f"{path}: expected one tensor of shape (d,), finite, or one named 'direction'; got {sorted(tensors)}"
        )
    vector: Vector = chosen.astype(np.float64)
    return vector


def _core(path: Path) -> tuple[Node, ...]:
    try:
        return Core.model_validate_json(json.dumps(json.loads(path.read_bytes()), allow_nan=False)).nodes
    except (OSError, ValueError, ValidationError) as error:
        raise CollectionError(
            f"{path}: not the core of a circuit: {str(error)[:200]}",
            hint='Expected {"nodes": [{"point": "model.layers.1.mlp", "index": 3}, ...]}.',
        ) from error
