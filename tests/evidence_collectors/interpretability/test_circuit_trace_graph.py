"""The arithmetic on attribution graphs is that of the paper, of a hand-worked example and of circuit-tracer."""

from __future__ import annotations

import types

import numpy as np
import pytest

from evidence_collectors.interpretability.circuit_trace import graph as graphs
from evidence_collectors.interpretability.circuit_trace.graph import Graph


def graph(seed=0, *, features=12, layers=3, positions=4, logits=2):
    """A random graph whose edges lead to later layers only, as in a model."""
    rng = np.random.Generator(np.random.PCG64(seed))
    places = np.stack(
        [rng.integers(0, layers, features), rng.integers(1, positions, features), rng.integers(0, 50, features)], axis=1
    )
    places = places[np.argsort(places[:, 0], kind="stable")]
    size = features + layers * positions + positions + logits
    depth = np.concatenate(
        [places[:, 0], np.repeat(np.arange(layers), positions), np.full(positions, -1), np.full(logits, layers)]
    )
    adjacency = np.where(depth[:, None] > depth[None, :], rng.standard_normal((size, size)), 0.0)
    adjacency[features : size - logits] = 0.0
    return Graph(
        adjacency=adjacency,
        features=places.astype(np.int64),
        activations=rng.random(features) + 0.1,
        layers=layers,
        positions=positions,
        targets=tuple(range(logits)),
        probabilities=rng.random(logits) / logits,
        active=features,
    )


def library(own):
    """The same graph in the form circuit-tracer's functions take."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("circuit_tracer")
    return types.SimpleNamespace(
        adjacency_matrix=torch.tensor(own.adjacency, dtype=torch.float32),
        logit_targets=list(own.targets),
        input_tokens=list(range(own.positions)),
        selected_features=list(range(len(own.features))),
        logit_probabilities=torch.tensor(own.probabilities, dtype=torch.float32),
        cfg=types.SimpleNamespace(n_layers=own.layers),
    )


def test_the_scores_of_a_graph_worked_by_hand():
    """One feature, one error, one token, one logit: token to feature 2, token to logit 1, feature to logit 3, error 1."""
    adjacency = np.zeros((4, 4))
    adjacency[0, 2] = 2.0
    adjacency[3] = [3.0, 1.0, -1.0, 0.0]
    own = Graph(adjacency, np.array([[0, 0, 7]]), np.array([1.5]), 1, 1, (9,), np.array([0.5]), 1)
    # Shares of the logit's row: feature .6, error .2, token .2. Times its probability: .3, .1, .1; and .3 through the feature.
    found = graphs.scores(own)
    assert found.replacement == pytest.approx((0.1 + 0.3) / (0.1 + 0.3 + 0.1))
    assert found.completeness == pytest.approx((0.5 * 0.8 + 0.3 + 0.1 + 0.4) / (0.5 + 0.3 + 0.1 + 0.4))
    assert found.error_share == pytest.approx(0.1 / (0.3 + 0.1 + 0.4))
    # Taking the feature's activation away takes its own effect on the logit away, once.
    assert graphs.total_effects(own, np.array([1.0])) == pytest.approx([3.0])


def test_an_effect_on_the_logits_counts_all_paths_through_other_features():
    """Feature 0 adds 2 to feature 1, which is at 4 and adds 8 to the logit: half of that is feature 0's, beside its own 1."""
    adjacency = np.zeros((6, 6))  # two features, two errors, one token, one logit
    adjacency[1, 0] = 2.0
    adjacency[5, :2] = [1.0, 8.0]
    own = Graph(adjacency, np.array([[0, 0, 0], [1, 0, 0]]), np.array([3.0, 4.0]), 2, 1, (0,), np.array([1.0]), 2)
    assert graphs.total_effects(own, np.array([1.0])) == pytest.approx([1.0 + 8.0 * 2.0 / 4.0, 8.0])


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_circuit_tracer(seed):
    own = graph(seed)
    theirs = library(own)
    from circuit_tracer.graph import compute_graph_scores

    replacement, completeness = compute_graph_scores(theirs)
    found = graphs.scores(own)
    assert found.replacement == pytest.approx(replacement, abs=1e-5)
    assert found.completeness == pytest.approx(completeness, abs=1e-5)


@pytest.mark.parametrize(("nodes", "edges"), [(0.8, 0.98), (0.5, 0.9), (0.95, 0.6)])
def test_pruning_keeps_the_nodes_and_edges_that_circuit_tracer_keeps(nodes, edges):
    for seed in range(3):
        own = graph(seed, features=30)
        theirs = library(own)
        from circuit_tracer.graph import prune_graph

        kept = prune_graph(theirs, node_threshold=nodes, edge_threshold=edges)
        found = graphs.prune(own, nodes=nodes, edges=edges)
        np.testing.assert_array_equal(found.nodes, kept.node_mask.numpy())
        np.testing.assert_array_equal(found.edges, kept.edge_mask.numpy())


def test_scores_lie_between_0_and_1_and_do_not_hang_on_the_scale_of_a_row():
    own = graph(5)
    scaled = Graph(**{**vars(own), "adjacency": own.adjacency * np.linspace(0.1, 9.0, own.size)[:, None]})
    found, other = graphs.scores(own), graphs.scores(scaled)
    assert 0.0 < found.replacement < 1.0
    assert 0.0 < found.completeness < 1.0
    assert (found.replacement, found.completeness) == pytest.approx((other.replacement, other.completeness))


def test_a_graph_without_influence_has_no_scores_and_one_with_a_cycle_is_refused():
    own = graph(1)
    assert graphs.scores(Graph(**{**vars(own), "adjacency": np.zeros_like(own.adjacency)})) is None
    turning = own.adjacency.copy()
    turning[0, 1] = turning[1, 0] = 1.0
    with pytest.raises(ValueError, match="cycle"):
        graphs.scores(Graph(**{**vars(own), "adjacency": turning}))


def test_the_core_is_what_every_setting_keeps_and_the_histogram_counts_every_kept_edge_once():
    own = graph(2, features=30)
    grid = {"nodes": (0.5, 0.7, 0.9), "edges": (0.8, 0.95)}
    found = graphs.consensus(own, **grid)
    each = [graphs.prune(own, nodes=n, edges=e).edges for n in grid["nodes"] for e in grid["edges"]]
    np.testing.assert_array_equal(found.core, np.logical_and.reduce(each))
    np.testing.assert_array_equal(found.score, np.sum(each, axis=0))
    assert sum(found.histogram) == int(np.logical_or.reduce(each).sum())
    assert found.histogram[-1] == int(found.core.sum()) > 0
    assert graphs.ends(found.core).sum() > 0


def test_features_are_named_without_their_position():
    own = graph(3)
    named = graphs.identities(own, np.ones(own.size, dtype=bool), 50)
    assert set(named) == {int(layer * 50 + index) for layer, _, index in own.features}
    assert list(named) == sorted(named)
