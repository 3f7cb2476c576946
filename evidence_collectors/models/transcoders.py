"""Which transcoders does this folder hold, and do they still do what they were trained to do?

A set of per-layer transcoders replaces every MLP by sparse features: features = g(W_enc x + b_enc), output = features W_dec
+ b_dec. The folder holds ``layer_0.safetensors`` ... without gaps, and ``transcoders.json``, which keeps what safetensors
files of this kind leave out and other loaders therefore guess: the activation function g, with k for TopK, and the points
read and written. (circuit-tracer 0.5.0 reloads a TopK set as ReLU and says nothing.) Nothing but safetensors and JSON is read.

Shapes: f features (``width``), d the residual stream. Reading needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from dossier.errors import ConfigError, SchemaError
from dossier.language_model import Layout
from dossier.model import Count, Digest, Number, Value, dump, parse

SETTINGS = "transcoders.json"
InputHook = Literal["mlp.hook_in", "hook_resid_mid"]
OutputHook = Literal["mlp.hook_out", "hook_mlp_out"]
Weights = NDArray[np.float32]
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".npy")
_MOST = 1 << 33  # bytes of one layer file
_HINT = "evidence_collectors/organisms/train_transcoders.py writes a folder of this kind."


class Activation(Value):
    """The activation function. ``k`` is given for ``topk`` alone; the thresholds of ``jumprelu`` lie with the weights."""

    name: Literal["relu", "jumprelu", "topk"]
    k: Annotated[int, Field(ge=1)] | None


class Settings(Value):
    """What ``transcoders.json`` holds. ``l0`` and ``fvu`` were measured when the set was made, a value a layer.

    ``input_hook`` and ``output_hook`` are named as circuit-tracer names them. ``sha256`` is of each layer's file;
    ``weights_sha256`` is of the weights they were trained on, None where nobody wrote it down.
    """

    schema_version: Literal["transcoders.v1"] = "transcoders.v1"
    activation: Activation
    input_hook: InputHook
    output_hook: OutputHook
    d_model: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=2)]
    sha256: tuple[Digest, ...]
    l0: tuple[Annotated[Number, Field(ge=0.0)], ...]
    fvu: tuple[Annotated[Number, Field(ge=0.0)], ...]
    trained_on: str
    weights_sha256: Digest | None = None
    tokens: Count


@dataclass(frozen=True)
class Layer:
    """One transcoder: ``encoder`` and ``decoder`` (f, d), their biases (f,) and (d,), ``threshold`` (f,) or None."""

    encoder: Weights
    decoder: Weights
    encoder_bias: Weights
    decoder_bias: Weights
    threshold: Weights | None


@dataclass(frozen=True)
class Points:
    """Where transcoders read and write, a point a block."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True)
class Transcoders:
    """A set of transcoders, one a block."""

    settings: Settings
    layers: tuple[Layer, ...]


def load(folder: Path) -> Transcoders:
    """Return the transcoders of a folder.

    Raises:
        ConfigError: no folder, pickled files in it, no or bad settings, a gap in the layers, a file that is not what the
            settings say, or values that are not finite.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of transcoders", hint=_HINT)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICKLES)
    if pickles:
        raise ConfigError(
            f"{folder}: holds {pickles[0]}; only safetensors are read, since pickled files can run code",
            hint="Save the weights with safetensors, and leave nothing else in the folder.",
        )
    settings = _settings(folder / SETTINGS)
    _check_names(folder, settings)
    layers = tuple(_layer(folder / _name(index), sha256, settings) for index, sha256 in enumerate(settings.sha256))
    return Transcoders(settings, layers)


def save(folder: Path, layers: Sequence[Layer], settings: Settings) -> Settings:
    """Write the transcoders and return the settings as written, with the digests filled in."""
    from safetensors.numpy import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    digests = []
    for index, layer in enumerate(layers):
        data = to_bytes({name: np.ascontiguousarray(value) for name, value in _named(layer).items()})
        (folder / _name(index)).write_bytes(data)
        digests.append(hashlib.sha256(data).hexdigest())
    written = settings.model_copy(update={"sha256": tuple(digests)})
    (folder / SETTINGS).write_bytes(dump(written))
    return written


def features(layer: Layer, inputs: NDArray[np.float64], activation: Activation) -> NDArray[np.float64]:
    """Return what the features of one transcoder are on inputs (token, d): (token, f)."""
    before = inputs @ layer.encoder.T.astype(np.float64) + layer.encoder_bias
    if activation.name == "relu":
        return np.maximum(before, 0.0)
    if activation.name == "jumprelu":
        assert layer.threshold is not None
        return np.where(before > layer.threshold, before, 0.0)
    assert activation.k is not None
    kept = np.argpartition(-before, activation.k - 1, axis=1)[:, : activation.k]
    found = np.zeros_like(before)
    np.put_along_axis(found, kept, np.take_along_axis(before, kept, axis=1), axis=1)
    return found


def points_of(layout: Layout, settings: Settings) -> Points:
    """Return the points that the settings' hooks mean in this layout.

    In a Gemma block the MLP sits between two norms of its own, and what it writes is what the second one puts out; that is
    ``hook_mlp_out``. Elsewhere it is the MLP's own output, ``mlp.hook_out``.
    """
    gemma = settings.output_hook == "hook_mlp_out"
    writes = tuple(f"{block}.post_feedforward_layernorm" for block in layout.residual) if gemma else layout.mlp
    if settings.input_hook == "mlp.hook_in":
        return Points(tuple(f"{mlp}:in" for mlp in layout.mlp), writes)
    norm = "pre_feedforward_layernorm" if gemma else "post_attention_layernorm"
    return Points(tuple(f"{block}.{norm}:in" for block in layout.residual), writes)


def lost_activation(settings: Settings, l0: Sequence[float]) -> str | None:
    """Return why the measured features per token say that the activation function is not the trained one, or None.

    TopK can have no more than k; any function has within a factor of two of what was measured when the set was made.
    """
    for layer, (now, then) in enumerate(zip(l0, settings.l0, strict=True)):
        k = settings.activation.k
        if k is not None and now > k:
            return f"layer {layer} has {now:.1f} features per token, and TopK allows {k}"
        if not 0.5 * then <= now <= 2.0 * then:
            return f"layer {layer} has {now:.1f} features per token, and had {then:.1f} when the set was made"
    return None


def _settings(path: Path) -> Settings:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}. It says which activation function the features have; "
            "none is assumed.",
            hint=_HINT,
        ) from error
    try:
        settings = parse(Settings, data, where=str(path))
    except (SchemaError, ValidationError) as error:
        raise ConfigError(str(error), hint=_HINT) from error
    if (settings.activation.name == "topk") != (settings.activation.k is not None):
        raise ConfigError(f"{path}: k belongs to 'topk' and to nothing else, got {settings.activation}", hint=_HINT)
    if settings.activation.k is not None and settings.activation.k > settings.width:
        raise ConfigError(f"{path}: k is {settings.activation.k}, more than the width {settings.width}", hint=_HINT)
    if not len(settings.sha256) == len(settings.l0) == len(settings.fvu) > 0:
        raise ConfigError(f"{path}: sha256, l0 and fvu must have one value for every layer", hint=_HINT)
    return settings


def _check_names(folder: Path, settings: Settings) -> None:
    expected = {_name(index) for index in range(len(settings.sha256))}
    found = {path.name for path in folder.glob("*.safetensors")}
    if found != expected:
        odd = sorted(found ^ expected)[0]
        what = "is missing" if odd in expected else "is no layer of the set"
        raise ConfigError(f"{folder}: {odd} {what}; expected a file for every layer from 0, without gaps", hint=_HINT)


def _layer(path: Path, sha256: str, settings: Settings) -> Layer:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    if path.stat().st_size > _MOST:
        raise ConfigError(f"{path}: larger than {_MOST} bytes")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ConfigError(f"{path}: digest is {found[:16]}..., and the settings name {sha256[:16]}...", hint=_HINT)
    try:
        tensors: Mapping[str, Any] = from_bytes(data)
    except (SafetensorError, struct.error, json.JSONDecodeError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: no safetensors file of float32 tensors: {error}", hint=_HINT) from error
    f, d = settings.width, settings.d_model
    shapes = {"W_enc": (f, d), "W_dec": (f, d), "b_enc": (f,), "b_dec": (d,)}
    if settings.activation.name == "jumprelu":
        shapes["threshold"] = (f,)
    got = {name: tensor.shape for name, tensor in tensors.items()}
    if got != shapes:
        raise ConfigError(f"{path}: expected tensors {shapes}, got {got}", hint=_HINT)
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise ConfigError(f"{path}: {name} must be float32 and finite, got {tensor.dtype}", hint=_HINT)
    return Layer(tensors["W_enc"], tensors["W_dec"], tensors["b_enc"], tensors["b_dec"], tensors.get("threshold"))


def _named(layer: Layer) -> dict[str, Weights]:
    named = {"W_enc": layer.encoder, "W_dec": layer.decoder, "b_enc": layer.encoder_bias, "b_dec": layer.decoder_bias}
    return named if layer.threshold is None else {**named, "threshold": layer.threshold}


def _name(layer: int) -> str:
    return f"layer_{layer}.safetensors"
