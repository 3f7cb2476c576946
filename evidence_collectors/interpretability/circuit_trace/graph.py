"""How much of an answer runs through features, and which nodes and edges carry it? Arithmetic on an attribution graph.

A graph has n nodes in this order: features, errors (layer by layer, position by position), tokens, logits. ``adjacency[t, s]``
is the direct effect of source s on target t in the local replacement model, where attention patterns and norm scales are
frozen; rows of errors and tokens are zero. With A the row-normalised |adjacency| and w the logits' probabilities:

    influence I = w A + w A^2 + ...                                 (finite: a node acts on later layers only)
    replacement = I(tokens) / (I(tokens) + I(errors))
    completeness = sum_t (I_t + w_t) (1 - sum_{s in errors} A[t, s]) / sum_t (I_t + w_t)

Source: Ameisen et al. 2025, "Circuit Tracing", transformer-circuits.pub; the definitions of circuit-tracer 0.5.0, which
the tests hold these functions to. Consensus over pruning settings: CIRCUS, arXiv:2603.00523.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Graph:
    """An attribution graph.

    Attributes:
        adjacency: (n, n).
        features: (feature, 3): layer, position and index of each feature node.
        activations: (feature,).
        layers: of the model.
        positions: of the prompt.
        targets: token ids of the logits.
        probabilities: (logit,), as the model gives them.
        active: features active on the prompt; more than ``features`` where the graph was capped.
    """

    adjacency: Matrix
    features: NDArray[np.int64]
    activations: Vector
    layers: int
    positions: int
    targets: tuple[int, ...]
    probabilities: Vector
    active: int

    @property
    def size(self) -> int:
        """The number of nodes."""
        return len(self.adjacency)

    @property
    def errors(self) -> slice:
        """Which nodes are errors."""
        return slice(len(self.features), len(self.features) + self.layers * self.positions)

    @property
    def tokens(self) -> slice:
        """Which nodes are tokens."""
        return slice(self.errors.stop, self.errors.stop + self.positions)

    @property
    def logits(self) -> slice:
        """Which nodes are logits."""
        return slice(self.tokens.stop, self.tokens.stop + len(self.targets))

    @property
    def weights(self) -> Vector:
        """(n,): the probabilities at the logits, 0 elsewhere."""
        found = np.zeros(self.size)
        found[self.logits] = self.probabilities
        return found


@dataclass(frozen=True)
class Scores:
    """How complete a graph is, each from 0 to 1; ``error_share`` is the errors' share of all influence."""

    replacement: float
    completeness: float
    error_share: float


@dataclass(frozen=True)
class Pruned:
    """What pruning leaves: ``nodes`` (n,), ``edges`` (n, n) from column to row, and ``influence`` (n,) before it."""

    nodes: Mask
    edges: Mask
    influence: Vector


@dataclass(frozen=True)
class Consensus:
    """Pruning under many settings.

    ``score`` (n, n) is in how many of the ``settings`` an edge is kept; the core is what every one keeps.
    """

    score: NDArray[np.int64]
    settings: int

    @property
    def core(self) -> Mask:
        """(n, n): the edges that every setting keeps."""
        found: Mask = np.equal(self.score, self.settings)
        return found

    @property
    def histogram(self) -> tuple[int, ...]:
        """How many edges are kept by exactly 1, 2, ... settings."""
        counts = np.bincount(self.score.ravel(), minlength=self.settings + 1)[1:]
        return tuple(int(count) for count in counts)


def scores(graph: Graph) -> Scores | None:
    """Return the scores, or None where no influence reaches a token or an error."""
    matrix = normalised(graph.adjacency)
    found = influence(matrix, graph.weights)
    tokens, errors = float(found[graph.tokens].sum()), float(found[graph.errors].sum())
    whole = found + graph.weights
    if tokens + errors <= 0.0 or whole.sum() <= 0.0:
        return None
    explained = 1.0 - matrix[:, graph.errors].sum(axis=1)
    return Scores(
        replacement=tokens / (tokens + errors),
        completeness=float((explained * whole).sum() / whole.sum()),
        error_share=errors / float(found.sum()),
    )


def normalised(adjacency: Matrix) -> Matrix:
    """Return |adjacency| with rows that sum to 1, or to 0 where they are empty."""
    absolute = np.abs(adjacency)
    result: Matrix = absolute / np.maximum(absolute.sum(axis=1, keepdims=True), 1e-10)
    return result


def influence(matrix: Matrix, weights: Vector) -> Vector:
    """Return w A + w A^2 + ... Raises ValueError for a graph with a cycle."""
    step: Vector = weights @ matrix
    found = step.copy()
    for _ in range(len(matrix) + 1):
        if not step.any():
            return found
        step = step @ matrix
        found += step
    raise ValueError("the graph has a cycle, so influence has no end")


def total_effects(graph: Graph, weights: Vector) -> Vector:
    """Return (feature,): by how much taking each feature's whole activation away lowers the weighted logits.

    All paths count, through other features as well, in the local replacement model: if a feature changes by the share r
    of its activation, it moves target t by r adjacency[t, s], and a feature t by that over its own activation.
    ``weights`` (logit,) weigh the logits.
    """
    count = len(graph.features)
    relative = graph.adjacency[:count, :count] / graph.activations[:, None]
    onto = weights @ graph.adjacency[graph.logits, :count]
    effects = onto.copy()
    step: Vector = onto
    for _ in range(graph.layers):
        step = step @ relative
        effects += step
    return effects


def prune(graph: Graph, *, nodes: float, edges: float) -> Pruned:
    """Return the graph pruned to the shares of cumulative influence that its nodes and its edges are to keep."""
    return _pruned(graph, node_influence(graph), nodes, (edges,))[0]


def node_influence(graph: Graph) -> Vector:
    """Return (n,): each node's influence on the logits."""
    return influence(normalised(graph.adjacency), graph.weights)


def consensus(graph: Graph, *, nodes: Sequence[float], edges: Sequence[float]) -> Consensus:
    """Return how often edges are kept over all settings nodes x edges."""
    whole = node_influence(graph)
    score = np.zeros(graph.adjacency.shape, dtype=np.int64)
    for share in nodes:
        for pruned in _pruned(graph, whole, share, edges):
            score += pruned.edges
    return Consensus(score, len(nodes) * len(edges))


def ends(edges: Mask) -> Mask:
    """Return (n,): the nodes at an end of one of the edges."""
    found: Mask = np.logical_or(edges.any(axis=0), edges.any(axis=1))
    return found


def identities(graph: Graph, nodes: Mask, width: int) -> tuple[int, ...]:
    """Return the features among the nodes without their positions, as layer * width + index, each once, sorted."""
    kept = graph.features[nodes[: len(graph.features)]]
    return tuple(int(one) for one in np.unique(kept[:, 0] * width + kept[:, 2]))


def of(library: Any) -> Graph:
    """Return the arithmetic's own value of a ``circuit_tracer.Graph``."""
    chosen = library.selected_features
    return Graph(
        adjacency=library.adjacency_matrix.double().cpu().numpy(),
        features=library.active_features[chosen].cpu().numpy().astype(np.int64),
        activations=library.activation_values[chosen].double().cpu().numpy(),
        layers=int(library.cfg.n_layers),
        positions=int(library.n_pos),
        targets=tuple(int(target.vocab_idx) for target in library.logit_targets),
        probabilities=library.logit_probabilities.detach().double().cpu().numpy(),
        active=len(library.active_features),
    )


def _pruned(graph: Graph, whole: Vector, share: float, edge_shares: Sequence[float]) -> list[Pruned]:
    """Return one pruning for every share of edges; the nodes before edges are pruned are the same."""
    kept = whole >= _threshold(whole, share)
    kept[graph.tokens.start :] = True
    matrix = normalised(np.where(kept[:, None] & kept[None, :], graph.adjacency, 0.0))
    values = matrix * (influence(matrix, graph.weights) + graph.weights)[:, None]
    found = []
    for edge_share in edge_shares:
        edges = values >= _threshold(values[values > 0.0], edge_share)
        nodes, edges = _connected(graph, kept.copy(), edges)
        found.append(Pruned(nodes, edges & nodes[:, None] & nodes[None, :], whole))
    return found


def _connected(graph: Graph, nodes: Mask, edges: Mask) -> tuple[Mask, Mask]:
    """Drop features and errors that lead nowhere and features that nothing leads to, until none is left."""
    inner, count = graph.tokens.start, len(graph.features)
    for _ in itertools.count():
        before = nodes.copy()
        nodes[:inner] &= edges[:, :inner].any(axis=0)
        nodes[:count] &= edges[:count].any(axis=1)
        if (nodes == before).all():
            return nodes, edges
        edges = edges & nodes[:, None] & nodes[None, :]
    raise AssertionError("unreachable")


def _threshold(values: Vector, share: float) -> float:
    """Return the smallest value that is needed for the largest ones to reach a share of the sum."""
    if not values.size or values.sum() <= 0.0:
        return np.inf
    falling = np.sort(values.ravel())[::-1]
    reached = np.cumsum(falling) / falling.sum()
    return float(falling[min(int(np.searchsorted(reached, share)), len(falling) - 1)])
