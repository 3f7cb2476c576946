"""What does the model itself do when parts of a circuit are taken away? Exact interventions, nothing frozen.

At every block the MLP's output is its features' part and an error: out = sum_f a_f W_dec[f] + b_dec + e. A node that is taken
away is set to its mean over reference texts; every other node keeps what it is in the changed pass, so that with nothing
taken away the model is the model. Attention, norms and everything downstream run as they are. The leading positions that the
graph leaves out are never changed.

The metric is what the graph explains: m = sum_t w_t (logit_t - mean over the vocabulary), over the traced logits t, w_t
their probabilities in the unchanged model, scaled to sum to one. Unit: nats.

Shapes: r rows, p positions, d the residual stream, f features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier.errors import CollectionError
from dossier.language_model import Array, Continuation, Edit, WhiteBoxModel
from evidence_collectors.interpretability.circuit_trace.graph import Graph, Mask
from evidence_collectors.models.transcoders import Layer, Points, Transcoders, features, points_of

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """Means over reference tokens: of each feature (layer, slot, f) and of the error (layer, slot, d).

    Slot k holds the tokens k places before the end, the last slot all that are further away.
    """

    features: Vector
    errors: Vector

    def at(self, layer: int, positions: int) -> tuple[Vector, Vector]:
        """Return the means at the positions of a text: (p, f) and (p, d)."""
        slots = np.minimum(np.arange(positions)[::-1], self.features.shape[1] - 1)
        return self.features[layer, slots], self.errors[layer, slots]


@dataclass(frozen=True)
class Fit:
    """How the transcoders do on texts, per layer: fraction of variance unexplained and features per token."""

    fvu: tuple[float, ...]
    l0: tuple[float, ...]
    tokens: int


@dataclass(frozen=True)
class Kept:
    """Which nodes keep what they are: features (layer, p, f) and errors (layer, p)."""

    features: Mask
    errors: Mask

    def inverted(self) -> Kept:
        """Return the complement."""
        return Kept(~self.features, ~self.errors)

    def without_errors(self) -> Kept:
        """Return the same features, and no error."""
        return Kept(self.features, np.zeros_like(self.errors))


@dataclass(frozen=True)
class Patcher:
    """The model opened for interventions on one set of transcoders; the first ``left_out`` positions stay as they are."""

    model: WhiteBoxModel
    transcoders: Transcoders
    points: Points
    left_out: int
    prepared: tuple[Any, ...] = field(repr=False)

    @staticmethod
    def of(model: WhiteBoxModel, transcoders: Transcoders, *, left_out: int) -> Patcher:
        """Return a patcher; raises CollectionError where the points are not there."""
        points = points_of(model.layout, transcoders.settings)
        like = model.parameter(f"{model.layout.embedding}.weight")
        prepared = tuple(_Tensors.of(layer, like) for layer in transcoders.layers)
        return Patcher(model, transcoders, points, left_out, prepared)

    def metric(self, text: Continuation, targets: Sequence[int], weights: Vector, edits: Sequence[Edit] = ()) -> float:
        """Return the metric after a text."""
        (batch,) = self.model.capture([text], [], edits=edits, logits=True)
        logits = batch.logits[0].double()
        chosen = logits[list(targets)] - logits.mean()
        return float((chosen.cpu().numpy() * weights).sum())

    def keep(self, kept: Kept, means: Means) -> list[Edit]:
        """Return the edits that set every node that is not kept to its mean."""
        edits: list[Edit] = []
        for layer, tensors in enumerate(self.prepared):
            edits += self._edits(layer, tensors, kept, means)
        return edits

    def remove(self, feature: Sequence[int], activation: float) -> list[Edit]:
        """Return the edit that takes one feature's whole activation away: (layer, position, index)."""
        layer, position, index = feature
        written = self.prepared[layer].decoder[index] * activation

        def change(value: Array) -> Array:
            changed = value.clone()
            changed[:, position] -= written.to(value.dtype)
            return changed

        return [Edit(self.points.writes[layer], change)]

    def _edits(self, layer: int, tensors: _Tensors, kept: Kept, means: Means) -> list[Edit]:
        """Return the two edits of a block: one that only looks at what goes in, one that changes what comes out."""
        import torch

        device = tensors.decoder.device
        gone = torch.tensor(~kept.features[layer, self.left_out :], device=device)
        gone_errors = torch.tensor(~kept.errors[layer, self.left_out :], device=device)
        mean, mean_error = (
            torch.tensor(part[self.left_out :], dtype=tensors.decoder.dtype, device=device)
            for part in means.at(layer, kept.features.shape[1])
        )
        seen: list[Array] = []

        def look(value: Array) -> Array:
            seen[:] = [value]
            return value

        def change(value: Array) -> Array:
            active = tensors.encode(seen[0][:, self.left_out :], self.transcoders)
            changed = value.clone()
            out = value[:, self.left_out :]
            error = out - active @ tensors.decoder - tensors.decoder_bias
            swapped = torch.where(gone, mean - active, torch.zeros_like(active)) @ tensors.decoder
            swapped += torch.where(gone_errors[:, None], mean_error - error, torch.zeros_like(error))
            changed[:, self.left_out :] = out + swapped
            return changed

        return [Edit(self.points.reads[layer], look), Edit(self.points.writes[layer], change)]


def sums(
    model: WhiteBoxModel, transcoders: Transcoders, texts: Sequence[Continuation], *, left_out: int, aligned: int
) -> tuple[Sums, Sums]:
    """Return what passes the MLPs on every second text and on the others, summed over tokens."""
    points = points_of(model.layout, transcoders.settings)
    halves = Sums.of(transcoders, aligned), Sums.of(transcoders, aligned)
    for batch in model.capture(texts, (*points.reads, *points.writes)):
        for row, index in enumerate(batch.index):
            used = batch.mask[row].cpu().numpy().astype(bool)
            slots = np.minimum(np.arange(used.sum())[::-1], aligned)[left_out:]
            used[:left_out] = False
            halves[index % 2].add(
                transcoders,
                [_numpy(batch.at[point][row])[used] for point in points.reads],
                [_numpy(batch.at[point][row])[used] for point in points.writes],
                slots,
            )
    return halves


def nodes_kept(graph: Graph, nodes: Mask, width: int) -> Kept:
    """Return which features and errors of the model are among a graph's nodes; those outside the graph are not kept."""
    kept = Kept(
        np.zeros((graph.layers, graph.positions, width), dtype=bool),
        nodes[graph.errors].reshape(graph.layers, graph.positions).copy(),
    )
    chosen = graph.features[nodes[: len(graph.features)]]
    kept.features[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = True
    return kept


@dataclass(frozen=True)
class _Tensors:
    """A layer's weights in the engine's own dtype and on its device."""

    encoder: Array
    encoder_bias: Array
    decoder: Array
    decoder_bias: Array
    threshold: Array | None

    @staticmethod
    def of(layer: Layer, like: Array) -> _Tensors:
        import torch

        def tensor(value: Any) -> Array:
            return None if value is None else torch.tensor(value, dtype=like.dtype, device=like.device)

        parts = (layer.encoder, layer.encoder_bias, layer.decoder, layer.decoder_bias, layer.threshold)
        return _Tensors(*(tensor(part) for part in parts))

    def encode(self, inputs: Array, transcoders: Transcoders) -> Array:
        """Return the features (r, p, f) of inputs (r, p, d)."""
        import torch

        before = inputs.to(self.encoder.dtype) @ self.encoder.T + self.encoder_bias
        activation = transcoders.settings.activation
        if activation.k is not None:
            kept = before.topk(activation.k, dim=-1).indices
            return torch.zeros_like(before).scatter(-1, kept, before.gather(-1, kept))
        if self.threshold is not None:
            return torch.where(before > self.threshold, before, torch.zeros_like(before))
        return before.relu()


@dataclass
class Sums:
    """Running sums over tokens, per layer and slot; see `Means`."""

    features: Vector  # (layer, slot, f)
    errors: Vector  # (layer, slot, d)
    outputs: Vector  # (layer, d)
    squares: Vector  # (layer, d)
    error_squares: Vector  # (layer,)
    active: Vector  # (layer,)
    tokens: Vector  # (slot,)

    @staticmethod
    def of(transcoders: Transcoders, aligned: int) -> Sums:
        """Return empty sums with ``aligned`` slots for last positions and one for all others."""
        layers, settings = len(transcoders.layers), transcoders.settings
        return Sums(
            np.zeros((layers, aligned + 1, settings.width)),
            np.zeros((layers, aligned + 1, settings.d_model)),
            np.zeros((layers, settings.d_model)),
            np.zeros((layers, settings.d_model)),
            np.zeros(layers),
            np.zeros(layers),
            np.zeros(aligned + 1),
        )

    def add(
        self,
        transcoders: Transcoders,
        reads: Sequence[Vector],
        writes: Sequence[Vector],
        slots: NDArray[np.int64],
    ) -> None:
        """Add a text's tokens: what went in and came out (token, d) of each layer, and the tokens' slots."""
        for index, (inputs, outputs) in enumerate(zip(reads, writes, strict=True)):
            layer = transcoders.layers[index]
            found = features(layer, inputs, transcoders.settings.activation)
            error = outputs - found @ layer.decoder - layer.decoder_bias
            np.add.at(self.features[index], slots, found)
            np.add.at(self.errors[index], slots, error)
            self.outputs[index] += outputs.sum(axis=0)
            self.squares[index] += (outputs**2).sum(axis=0)
            self.error_squares[index] += float((error**2).sum())
            self.active[index] += float((found != 0.0).sum())
        np.add.at(self.tokens, slots, 1.0)

    def plus(self, other: Sums) -> Sums:
        """Return the sums over both."""
        names = ("features", "errors", "outputs", "squares", "error_squares", "active", "tokens")
        return Sums(*(getattr(self, name) + getattr(other, name) for name in names))

    def means(self) -> Means:
        """Return the means; a slot no text reaches has those over all tokens.

        Raises:
            CollectionError: there is no token.
        """
        if not self.tokens.sum():
            raise CollectionError("the reference texts have no tokens that count")

        def mean(part: Vector) -> Vector:
            whole = part.sum(axis=1, keepdims=True) / self.tokens.sum()
            counted = part / np.maximum(self.tokens, 1.0)[None, :, None]
            found: Vector = np.where(self.tokens[None, :, None] > 0.0, counted, whole)
            return found

        return Means(mean(self.features), mean(self.errors))

    def fit(self) -> Fit:
        """Return how the transcoders do on these tokens."""
        count = int(self.tokens.sum())
        if not count:
            raise CollectionError("the texts have no tokens that count")
        variance = (self.squares - self.outputs**2 / count).sum(axis=1)
        fvu = self.error_squares / np.maximum(variance, 1e-30)
        return Fit(tuple(map(float, fvu)), tuple(map(float, self.active / count)), count)


def _numpy(value: Array) -> Vector:
    array: Vector = value.detach().double().cpu().numpy()
    return array
