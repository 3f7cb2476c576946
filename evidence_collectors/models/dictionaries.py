"""Which sparse features does an activation hold? One frozen value over every dictionary this project can read.

Shapes: n tokens, d the width at the point, F the dictionary's width, w features watched. With x' = normalise(x) - a b_dec,
a = 1 where the bias is taken off the input, and z = x' W_enc + b_enc,

    standard  relu(z)                     jumprelu  relu(z) [z > threshold]
    topk      relu(z) of the k largest z  gated     [x' W_enc + b_gate > 0] relu(x' (W_enc e^r) + b_enc)

and the reconstruction is denormalise(features W_dec + b_dec), with x W_skip added where the dictionary has a linear bypass.
BatchTopK dictionaries are saved as jumprelu, with the threshold that held on average in training.

Sources: Bricken et al. 2023 (standard); Gao et al. 2024, arXiv:2406.04093 (topk); Rajamanoharan et al. 2024,
arXiv:2407.14435 (jumprelu) and arXiv:2404.16014 (gated). Equality with sae-lens is tested.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch

from dossier.errors import CollectionError
from dossier.language_model import Layout
from dossier.model import Subject

Architecture = Literal["standard", "jumprelu", "topk", "gated"]
Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]
Tensor = Any

_EPSILON = 1e-5  # sae-lens' own, in its layer norm
_LENS_POINT = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")  # TransformerLens' names of the residual stream


@dataclass(frozen=True)
class Stated:
    """What a dictionary's files say about it. Never taken for a measurement.

    ``point`` is the hook name as written; ``target`` where a transcoder writes, None for an autoencoder; ``layer`` the block
    that a folder's name says.
    """

    point: str | None = None
    target: str | None = None
    model: str | None = None
    weights_sha256: str | None = None
    l0: float | None = None
    layer: int | None = None


@dataclass(frozen=True)
class Dictionary:
    """A dictionary's numbers.

    Attributes:
        name: for messages.
        w_enc: (d, F), with the decoder's norms folded in where top-k was chosen by rescaled activations.
        b_enc: (F,); of a gated dictionary the bias of the magnitudes.
        w_dec: (F, d).
        b_dec: (d,).
        threshold: (F,), jumprelu only.
        k: topk only.
        gate: (b_gate, r_mag), each (F,), gated only.
        skip: (d, d), a linear bypass.
        bias_from_input: whether b_dec is taken off the input.
    """

    name: str
    architecture: Architecture
    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    k: int | None = None
    gate: tuple[Tensor, Tensor] | None = None
    skip: Tensor | None = None
    bias_from_input: bool = False
    normalisation: Normalisation = "none"
    stated: Stated = Stated()
    _elsewhere: dict[Any, Dictionary] = field(default_factory=dict, init=False, repr=False, compare=False)  # by device

    @property
    def width(self) -> int:
        """F, the number of features."""
        return int(self.w_enc.shape[1])

    @property
    def d_in(self) -> int:
        """d, the width of the activations it reads."""
        return int(self.w_enc.shape[0])

    def like(self, value: Tensor) -> Dictionary:
        """Return the dictionary on the device of a tensor; itself where it is there. A copy is made once and kept."""
        device = value.device
        if self.w_enc.device == device:
            return self
        if device not in self._elsewhere:
            moved = {one.name: _moved(getattr(self, one.name), device) for one in fields(self) if one.init}
            self._elsewhere[device] = Dictionary(**moved)
        return self._elsewhere[device]

    def encode(self, value: Tensor) -> Tensor:
        """Return the features (..., F) of activations (..., d)."""
        x = self._input(value)
        if self.gate is not None:
            bias, magnitude = self.gate
            open_ = (x @ self.w_enc + bias > 0).to(x.dtype)
            return open_ * (x @ (self.w_enc * magnitude.exp()) + self.b_enc).relu()
        before = x @ self.w_enc + self.b_enc
        if self.k is not None:
            values, places = before.topk(self.k, dim=-1, sorted=False)
            return torch.zeros_like(before).scatter_(-1, places, values.relu())
        if self.threshold is not None:
            return before.relu() * (before > self.threshold)
        return before.relu()

    def active(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (token, feature, value), each (m,), of the active entries of activations (n, d): those of `encode`.

        Where each feature stands by itself the dense features are never written, only what comes before their threshold.
        """
        if self.k is not None or self.gate is not None:
            features = self.encode(value)
            token, feature = features.nonzero(as_tuple=True)
            return token, feature, features[token, feature]
        before = self._input(value) @ self.w_enc + self.b_enc
        least = 0.0 if self.threshold is None else self.threshold.clamp(min=0.0)
        token, feature = (before > least).nonzero(as_tuple=True)
        return token, feature, before[token, feature]

    def encode_watched(self, value: Tensor, features: Sequence[int]) -> Tensor:
        """Return some features (..., w) only: w columns of the encoder instead of F.

        Of a topk dictionary all are computed, because which are the k largest is known only then.
        """
        if self.k is not None:
            return self.encode(value)[..., list(features)]
        return self.watching(features).encode(value)

    def watching(self, features: Sequence[int]) -> Dictionary:
        """Return the dictionary of these features alone; ValueError for a topk one, whose features compete."""
        if self.k is not None:
            raise ValueError(f"{self.name}: the features of a topk dictionary cannot be computed apart")
        chosen = list(features)
        return replace(
            self,
            w_enc=self.encoder_columns(chosen),
            b_enc=self.b_enc[chosen],
            w_dec=self.decoder_rows(chosen),
            threshold=None if self.threshold is None else self.threshold[chosen],
            gate=None if self.gate is None else (self.gate[0][chosen], self.gate[1][chosen]),
        )

    def decode(self, features: Tensor, value: Tensor) -> Tensor:
        """Return the reconstruction (..., d) from features (..., F); ``value`` is what they were encoded from."""
        scale, shift = self._scale(value)
        found = (features @ self.w_dec + self.b_dec) * scale + shift
        if self.skip is not None:
            found = found + value.to(self.w_dec.dtype) @ self.skip
        return found.to(value.dtype)

    def contribution(self, value: Tensor, features: Sequence[int]) -> Tensor:
        """Return what some features add to the reconstruction of activations (..., d), without any bias."""
        scale, _ = self._scale(value)
        return (self.encode_watched(value, features) @ self.decoder_rows(features) * scale).to(value.dtype)

    def decoder_rows(self, features: Sequence[int]) -> Tensor:
        """Return what each feature writes, (w, d)."""
        return self.w_dec[list(features)]

    def encoder_columns(self, features: Sequence[int]) -> Tensor:
        """Return what each feature reads, (d, w)."""
        return self.w_enc[:, list(features)]

    def _input(self, value: Tensor) -> Tensor:
        x = value.to(self.w_enc.dtype)
        if self.normalisation == "layer_norm":
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.std(dim=-1, keepdim=True) + _EPSILON)
        elif self.normalisation == "constant_norm_rescale":
            x = x * (self.d_in**0.5 / x.norm(dim=-1, keepdim=True))
        return x - self.b_dec if self.bias_from_input else x

    def _scale(self, value: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return what the reconstruction is multiplied with and shifted by to undo the normalisation."""
        x = value.to(self.w_enc.dtype)
        if self.normalisation == "layer_norm":
            mean = x.mean(dim=-1, keepdim=True)
            return (x - mean).std(dim=-1, keepdim=True), mean
        if self.normalisation == "constant_norm_rescale":
            return x.norm(dim=-1, keepdim=True) / self.d_in**0.5, 0.0
        return 1.0, 0.0


def point_of(dictionary: Dictionary, layout: Layout, *, point: str = "") -> str:
    """Return the point of this model whose activations the dictionary reads.

    ``point`` says it where the files do not; where both do, they must agree. TransformerLens' names of the residual stream
    are translated, any other name is taken for a module path.

    Raises:
        CollectionError: nobody says it, the two contradict, the model has no such layer, or it is a transcoder.
    """
    stated = dictionary.stated
    if stated.target is not None and stated.target != stated.point:
        raise CollectionError(
            f"{dictionary.name}: a transcoder, which reads {stated.point!r} and writes {stated.target!r}",
            hint="This instrument reads autoencoders of one point.",
        )
    own = None if stated.point is None else _translated(dictionary.name, stated.point, layout)
    if own is None and not point:
        raise CollectionError(
            f"{dictionary.name}: its files do not say which activations it was trained on",
            hint="Give the parameter `point`, a module path such as 'model.layers.12'.",
        )
    if own is not None and point and own != point:
        raise CollectionError(
            f"{dictionary.name}: trained on {own!r}, but the parameter `point` says {point!r}",
            hint="Leave the parameter out, or bring the dictionary of that point.",
        )
    _check_layer(dictionary, layout, own or point)
    return own or point


def _check_layer(dictionary: Dictionary, layout: Layout, point: str) -> None:
    """Refuse a point of another block than the one the dictionary's folder is named after.

    Raises:
        CollectionError: it is another block's, or the model has no such block.
    """
    layer = dictionary.stated.layer
    if layer is None:
        return
    if layer >= len(layout.residual):
        raise CollectionError(
            f"{dictionary.name}: its folder says layer {layer}, but the model has {len(layout.residual)} layers"
        )
    block = layout.residual[layer]
    if point != block and not point.startswith((f"{block}.", f"{block}:")):
        raise CollectionError(
            f"{dictionary.name}: its folder says layer {layer}, which is {block!r} here, but the point is {point!r}",
            hint="Bring the dictionary of that layer, or give its point; a folder named wrongly needs another name.",
        )


def check_fits(dictionary: Dictionary, subject: Subject, *, width: int, point: str) -> None:
    """Refuse a dictionary of another model. ``width`` is the model's at the point.

    Raises:
        CollectionError: the widths differ, or the files name other weights or another model.
    """
    stated = dictionary.stated
    if dictionary.d_in != width or int(dictionary.w_dec.shape[1]) != width:
        raise CollectionError(
            f"{dictionary.name}: reads activations of width {dictionary.d_in}, but {subject.name} has {width} at {point}",
            hint="The dictionary belongs to another model or another point.",
        )
    if stated.weights_sha256 is not None and stated.weights_sha256 != subject.weights_sha256:
        raise CollectionError(
            f"{dictionary.name}: trained on weights {stated.weights_sha256[:16]}…, but {subject.name} has "
            f"{(subject.weights_sha256 or 'none that were digested')[:16]}",
            hint="A dictionary speaks of the weights it was trained on; to read other ones knowingly, set `other_weights`.",
        )
    if stated.weights_sha256 is None and stated.model is not None and not _same_name(stated.model, subject.name):
        raise CollectionError(
            f"{dictionary.name}: says it was trained on {stated.model!r}, and the subject is {subject.name!r}",
            hint="If it is the same model under another name, or knowingly another one, set the parameter `other_weights`.",
        )


def _translated(name: str, hook: str, layout: Layout) -> str:
    found = _LENS_POINT.fullmatch(hook)
    if found is None:
        if hook.startswith(("blocks.", "hook_")):
            raise CollectionError(
                f"{name}: hook point {hook!r} has no counterpart here; only hook_resid_pre and hook_resid_post are known",
                hint="Write the module path into cfg.json, metadata.hook_name.",
            )
        return hook
    layer = int(found[1])
    if layer >= len(layout.residual):
        raise CollectionError(f"{name}: trained on layer {layer}, but the model has {len(layout.residual)} layers")
    return layout.residual[layer] + (":in" if found[2] == "pre" else "")


def _same_name(stated: str, name: str) -> bool:
    """Whether the last parts of two model names agree, letter case and owner aside."""
    ends = [re.split(r"[/\\]", text.strip("/\\").partition("@")[0].lower())[-1] for text in (stated, name)]
    return ends[0] == ends[1]


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return tuple(_moved(part, device) for part in value) if isinstance(value, tuple) else value
