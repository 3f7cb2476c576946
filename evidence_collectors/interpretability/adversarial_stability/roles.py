"""Which further inputs can a stability run take: a direction, a dictionary, the core of a circuit?

``direction``: a safetensors file with one tensor (d,), or several of which one is named ``direction``. ``dictionary``: a folder
that `evidence_collectors.models.dictionary_files` reads; its features are then ranked in place of a module's coordinates.
``core``: the circuit of one prompt as `interpretability.circuit_trace` writes it, of which the features that every pruning
kept are read, with the ``transcoders`` it was traced through; or JSON ``{"nodes": [{"point": module path, "index":
coordinate}, {"layer": block, "feature": number}]}``. Nodes are read where the direction is, so of a traced circuit those that
lie there; a node survives an attack if it keeps half of its mean activation on positive texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from dossier.collector import Inputs
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Layout, WhiteBoxModel
from dossier.model import Count, Text, Value
from evidence_collectors.interpretability.adversarial_stability.parameters import KIND, StabilityParameters
from evidence_collectors.interpretability.reading import Matrix, Vector

CIRCUIT = "circuit.v1"  # what `circuit_trace` writes
ROWS = 256  # texts whose features are computed at a time


class Node(Value):
    """One coordinate of a point."""

    point: Text
    index: Count


class Feature(Value):
    """One feature of a block's transcoder."""

    layer: Count
    feature: Count


class Core(Value):
    """The nodes a circuit trace kept."""

    nodes: Annotated[tuple[Node | Feature, ...], Field(min_length=1, max_length=10_000)]


@dataclass(frozen=True, eq=False)
class Read:
    """One node of a core, as it is read: the point, and what gives its activations (n,) from what passed there (n, d)."""

    point: str
    activations: Callable[[Matrix], Vector]


@dataclass(frozen=True, eq=False)
class Roles:
    """The inputs, opened. ``feature_point`` is where features are read; the dictionary turns activations into features."""

    feature_point: str
    direction: Vector | None
    dictionary: Any
    core: tuple[Read, ...]

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
    if "transcoders" in inputs.files and not params.use_core:
        raise CollectionError(f"{KIND}: the input 'transcoders' is given, and use_core is false: nothing would read it")
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
        core=_core(inputs, params) if params.use_core else (),
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


def _core(inputs: Inputs, params: StabilityParameters) -> tuple[Read, ...]:
    path, model = inputs.files["core"], inputs.opened()
    nodes, transcoders_sha256 = _nodes(path, params.position, model)
    features = [one for one in nodes if isinstance(one, Feature)]
    if bool(features) != ("transcoders" in inputs.files):
        raise CollectionError(
            f"{KIND}: {path} names {len(features)} features of transcoders, and the input 'transcoders' is "
            f"{'given' if 'transcoders' in inputs.files else 'missing'}",
            hint="Give the transcoders that the circuit was traced through, and only where it names their features.",
        )
    read = _of_transcoders(inputs.files["transcoders"], model, features, transcoders_sha256) if features else {}
    return tuple(
        Read(one.point, partial(_coordinate, index=one.index)) if isinstance(one, Node) else read[one] for one in nodes
    )


def _of_transcoders(
    folder: Path, model: WhiteBoxModel, nodes: Sequence[Feature], traced_through: Sequence[str] | None
) -> dict[Feature, Read]:
    from evidence_collectors.models import transcoders

    try:
        held = transcoders.load(folder)
    except ConfigError as error:
        raise CollectionError(error.message, hint=error.hint) from error
    settings, own = held.settings, model.subject.weights_sha256
    if settings.weights_sha256 is not None and settings.weights_sha256 != own:
        raise CollectionError(f"{folder}: trained on other weights than those of {model.subject.name}")
    if traced_through is not None and tuple(traced_through) != settings.sha256:
        raise CollectionError(f"{folder}: the circuit was traced through other transcoders than these")
    if settings.d_model != model.layout.d_model or len(held.layers) != len(model.layout.residual):
        raise CollectionError(
            f"{folder}: {len(held.layers)} layers of width {settings.d_model}, and the model has "
            f"{len(model.layout.residual)} of {model.layout.d_model}"
        )
    beyond = [one for one in nodes if one.layer >= len(held.layers) or one.feature >= settings.width]
    if beyond:
        raise CollectionError(f"{folder}: holds no feature {beyond[0].feature} in layer {beyond[0].layer}")
    reads = transcoders.points_of(model.layout, settings).reads

    def activations(values: Matrix, *, layer: int, feature: int) -> Vector:
        found: Vector = transcoders.features(held.layers[layer], values, settings.activation)[:, feature]
        return found

    return {one: Read(reads[one.layer], partial(activations, layer=one.layer, feature=one.feature)) for one in nodes}


def _coordinate(values: Matrix, *, index: int) -> Vector:
    if index >= values.shape[1]:
        raise CollectionError(f"{KIND}: the core names coordinate {index} of a point of width {values.shape[1]}")
    found: Vector = values[:, index]
    return found


def _nodes(path: Path, position: str, model: WhiteBoxModel) -> tuple[tuple[Node | Feature, ...], Sequence[str] | None]:
    """Return the nodes of a core, and the digests of the transcoders that they were traced through, None where none is said."""
    through = None
    try:
        held = json.loads(path.read_bytes())
        if isinstance(held, dict) and held.get("schema_version") == CIRCUIT:
            weights, through = held["weights_sha256"], held["transcoders_sha256"]
            if weights != model.subject.weights_sha256:
                raise CollectionError(f"{path}: traced in other weights than those of {model.subject.name}")
            held = _of_circuit(held, position, path)
        return Core.model_validate_json(json.dumps(held, allow_nan=False)).nodes, through
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CollectionError(
            f"{path}: not the core of a circuit: {str(error)[:200]}",
            hint='Expected a circuit-*.json of a circuit trace, or {"nodes": [{"point": "model.layers.1.mlp", "index": 3}, '
            '{"layer": 1, "feature": 40}, ...]}.',
        ) from error


def _of_circuit(held: Mapping[str, Any], position: str, path: Path) -> dict[str, Any]:
    """Return the features that every pruning kept, each once: those at the position that is read; all where it is a mean.

    Raises:
        CollectionError: not all of the core is in the file, or none of it at the position.
    """
    back = int(position.partition("-")[2] or 0) if position.startswith("last_prompt") else None
    at = None if back is None else len(held["tokens"]) - 1 - back
    kept = {
        (int(one["layer"]), int(one["feature"]))
        for one in held["nodes"]
        if one["kind"] == "feature" and one["core"] and (at is None or one["position"] == at)
    }
    shown = sum(one["kind"] == "feature" and one["core"] for one in held["nodes"])
    if shown != held["core_features"]:
        raise CollectionError(
            f"{path}: {shown} of the {held['core_features']} features of its core are drawn",
            hint="Trace it again with a larger drawn_nodes.",
        )
    if not kept:
        raise CollectionError(f"{path}: no feature of its core stands at {position}", hint="Name another circuit.")
    return {"nodes": [{"layer": layer, "feature": feature} for layer, feature in sorted(kept)]}
