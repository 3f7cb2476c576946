"""What leaves a circuit trace beside its trials? A small graph a prompt as JSON, and the pruned circuits as safetensors.

The JSON holds the most influential nodes only, and token texts as the model's tokenizer spells them: hostile text, to be
escaped by whoever shows it. Nothing is pickled. A safetensors file holds, by prompt, the pruned circuit whole:
``<item>.nodes`` (n, 4) as kind, layer, position and feature (-1 where there is none), ``<item>.edges`` (e, 2) as source and
target in that list, ``<item>.weights`` (e,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier import canonical
from dossier.collector import Artifact
from evidence_collectors.interpretability.circuit_trace.graph import Consensus, Graph, Pruned, Scores, normalised

KINDS = ("feature", "error", "token", "logit")
FORMAT = "circuit.v1"
EDGES_PER_NODE = 4
LONGEST_TEXT = 120  # characters of a token


@dataclass(frozen=True)
class Drawn:
    """All that a prompt's graph document is made of. ``token_texts`` and ``target_texts`` as the tokenizer spells them.

    ``weights_sha256`` is of the model, ``transcoders_sha256`` of each layer's transcoder: a feature's number means nothing in
    others.
    """

    item: str
    graph: Graph
    pruned: Pruned
    consensus: Consensus
    scores: Scores
    token_texts: Sequence[str]
    target_texts: Sequence[str]
    weights_sha256: str | None
    transcoders_sha256: Sequence[str]


def document(drawn: Drawn, *, most_nodes: int, left_out: int, frozen: Sequence[str]) -> Artifact:
    """Return the JSON document of a prompt's graph, at most ``most_nodes`` nodes."""
    shown = _shown(drawn, most_nodes)
    names = {node: _name(drawn.graph, node) for node in shown}
    value = {
        "schema_version": FORMAT,
        "item": drawn.item,
        "weights_sha256": drawn.weights_sha256,
        "transcoders_sha256": list(drawn.transcoders_sha256),
        "layers": drawn.graph.layers,
        "tokens": [text[:LONGEST_TEXT] for text in drawn.token_texts],
        "nodes": [{"id": names[node], **_described(drawn, node)} for node in shown],
        "edges": [
            {
                "source": names[source],
                "target": names[target],
                "weight": _short(drawn.graph.adjacency[target, source]),
                "settings_share": _short(drawn.consensus.score[target, source] / drawn.consensus.settings),
            }
            for source, target in _edges(drawn, shown)
        ],
        "scores": {
            "replacement": _short(drawn.scores.replacement),
            "completeness": _short(drawn.scores.completeness),
            "error_share": _short(drawn.scores.error_share),
        },
        "circuit_nodes": int(drawn.pruned.nodes.sum()),
        "core_features": sum(_in_core(drawn, node) for node in range(drawn.graph.errors.start)),
        "circuit_edges": int(drawn.pruned.edges.sum()),
        "left_out_positions": left_out,
        "frozen": list(frozen),
    }
    return Artifact(f"circuit-{drawn.item}.json", "application/json", canonical.encode(value))


def arrays(item: str, graph: Graph, pruned: Pruned) -> Mapping[str, NDArray[Any]]:
    """Return the pruned circuit as arrays by name."""
    nodes = np.flatnonzero(pruned.nodes)
    place = {int(node): index for index, node in enumerate(nodes)}
    targets, sources = np.nonzero(pruned.edges)
    return {
        f"{item}.nodes": np.array([_row(graph, int(node)) for node in nodes], dtype=np.int32).reshape(-1, 4),
        f"{item}.edges": np.array(
            [(place[int(source)], place[int(target)]) for source, target in zip(sources, targets, strict=True)],
            dtype=np.int32,
        ).reshape(-1, 2),
        f"{item}.weights": graph.adjacency[targets, sources].astype(np.float32),
    }


def _shown(drawn: Drawn, most: int) -> list[int]:
    """Return the nodes to show, in order: all logits, and the most influential others that still have an edge."""
    graph = drawn.graph
    logits = list(range(graph.logits.start, graph.logits.stop))
    inner = [int(node) for node in np.argsort(-drawn.pruned.influence, kind="stable") if node < graph.logits.start]
    linked = np.flatnonzero(drawn.pruned.edges.any(axis=0)).tolist()
    kept = [node for node in inner if drawn.pruned.nodes[node] and node in linked][: most - len(logits)]
    ends = {node for edge in _edges(drawn, [*kept, *logits]) for node in edge}
    return sorted(node for node in (*kept, *logits) if node in ends or node in logits)


def _edges(drawn: Drawn, shown: Sequence[int]) -> list[tuple[int, int]]:
    """Return (source, target) among the shown nodes, those that carry most influence, in a fixed order."""
    chosen = np.asarray(shown, dtype=np.int64)
    whole = drawn.pruned.influence + drawn.graph.weights
    carried = normalised(drawn.graph.adjacency)[np.ix_(chosen, chosen)] * whole[chosen][:, None]
    carried = np.where(drawn.pruned.edges[np.ix_(chosen, chosen)], carried, 0.0)
    order = np.argsort(-carried.ravel(), kind="stable")[: EDGES_PER_NODE * len(shown)]
    found = [(int(flat) // len(shown), int(flat) % len(shown)) for flat in order if carried.ravel()[flat] > 0.0]
    return sorted((int(chosen[source]), int(chosen[target])) for target, source in found)


def _described(drawn: Drawn, node: int) -> dict[str, Any]:
    graph = drawn.graph
    kind, layer, position, feature = _row(graph, node)
    found: dict[str, Any] = {
        "kind": KINDS[kind],
        "layer": layer if layer >= 0 else None,
        "position": position,
        "feature": feature if feature >= 0 else None,
        "influence": _short(drawn.pruned.influence[node]),
        "core": _in_core(drawn, node),
    }
    if KINDS[kind] == "feature":
        found["activation"] = _short(graph.activations[node])
    if KINDS[kind] == "token":
        found["text"] = drawn.token_texts[position][:LONGEST_TEXT]
    if KINDS[kind] == "logit":
        found["text"] = drawn.target_texts[node - graph.logits.start][:LONGEST_TEXT]
        found["probability"] = _short(graph.probabilities[node - graph.logits.start])
    return found


def _in_core(drawn: Drawn, node: int) -> bool:
    core = drawn.consensus.core
    return bool(core[node].any() or core[:, node].any())


def _row(graph: Graph, node: int) -> tuple[int, int, int, int]:
    """Return kind, layer, position and feature of a node, -1 where it has none."""
    if node < graph.errors.start:
        layer, position, feature = (int(one) for one in graph.features[node])
        return 0, layer, position, feature
    if node < graph.tokens.start:
        layer, position = divmod(node - graph.errors.start, graph.positions)
        return 1, layer, position, -1
    if node < graph.logits.start:
        return 2, -1, node - graph.tokens.start, -1
    return 3, -1, graph.positions - 1, -1


def _name(graph: Graph, node: int) -> str:
    kind, layer, position, feature = _row(graph, node)
    if KINDS[kind] == "feature":
        return f"L{layer}.p{position}.f{feature}"
    if KINDS[kind] == "error":
        return f"L{layer}.p{position}.error"
    return f"token.p{position}" if KINDS[kind] == "token" else f"logit.{node - graph.logits.start}"


def _short(value: float) -> float:
    return float(f"{float(value):.6g}")
