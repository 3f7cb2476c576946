"""What is done with each prompt? Trace it, score it, prune it, and hold the graph to the model by interventions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier.collector import Artifact, Inputs
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Activations, Continuation, WhiteBoxModel
from dossier.model import TrialKey, as_json
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.circuit_trace import artifacts as artifacts
from evidence_collectors.interpretability.circuit_trace import engine as engine
from evidence_collectors.interpretability.circuit_trace import graph as graphs
from evidence_collectors.interpretability.circuit_trace import patching as patching
from evidence_collectors.interpretability.circuit_trace.engine import Engine, Limits
from evidence_collectors.interpretability.circuit_trace.graph import Graph, Pruned, Scores
from evidence_collectors.interpretability.circuit_trace.parameters import KIND, CircuitTraceParameters
from evidence_collectors.interpretability.circuit_trace.patching import Kept, Means, Patcher
from evidence_collectors.interpretability.circuit_trace.reading import Patched, Prompt, Scored, SelfTest
from evidence_collectors.items.contrast import Contrast
from evidence_collectors.models import transcoders as transcoder_files
from evidence_collectors.models.transcoders import Transcoders

TOLERANCE = 1e-3  # of the self-test in float32; sums of a few thousand terms moved tiny models by 1e-6 and less
COARSE = 0.05  # in 16 bits, where a sum of many terms loses its last digits
_PARITY = 1e-2


@dataclass(frozen=True)
class Bench:
    """The subject, opened for tracing and for interventions."""

    model: WhiteBoxModel
    engine: Engine
    patcher: Patcher
    transcoders: Transcoders
    limits: Limits
    means: tuple[Means, Means, Means]  # over all reference texts, over every second one, over the others
    fit: patching.Fit


def open_bench(
    inputs: Inputs, params: CircuitTraceParameters, *, references: Sequence[Contrast], traced: Sequence[Contrast]
) -> Bench:
    """Load the transcoders and the library's copy of the subject, and read the texts once.

    Nodes are ablated to means over ``references``; how well the transcoders do is measured on ``traced``.

    Raises:
        CollectionError: circuit-tracer is not installed or cannot open the subject, or the transcoders are not usable.
    """
    engine.check_installed()
    model = inputs.opened()
    try:
        held = transcoder_files.load(inputs.files["transcoders"])
    except ConfigError as error:
        raise CollectionError(error.message, hint=error.hint) from error
    if len(held.layers) != len(model.layout.residual) or held.settings.d_model != model.layout.d_model:
        raise CollectionError(
            f"the transcoders are for {len(held.layers)} layers of width {held.settings.d_model}, and the model has "
            f"{len(model.layout.residual)} of width {model.layout.d_model}",
            hint="Transcoders belong to the very model they were trained on.",
        )
    stated, own = held.settings.weights_sha256, model.subject.weights_sha256
    if stated is not None and stated != own:
        raise CollectionError(
            f"the transcoders were trained on weights {stated[:16]}…, and {model.subject.name} has "
            f"{(own or 'none that were digested')[:16]}",
            hint="Train them for these weights. To read other ones knowingly, take `weights_sha256` out of transcoders.json.",
        )
    like = model.parameter(f"{model.layout.embedding}.weight")
    opened = engine.open_engine(model.source, held, left_out=params.left_out, device=like.device, dtype=like.dtype)
    first, second = (
        patching.sums(
            model,
            held,
            [text.continuation() for text in texts],
            left_out=params.left_out,
            aligned=params.aligned_positions,
        )
        for texts in (references, traced)
    )
    return Bench(
        model=model,
        engine=opened,
        patcher=Patcher.of(model, held, left_out=params.left_out),
        transcoders=held,
        limits=Limits(min(params.logits, model.layout.vocabulary), params.target_probability, params.feature_nodes),
        means=(first[0].plus(first[1]).means(), first[0].means(), first[1].means()),
        fit=second[0].plus(second[1]).fit(),
    )


def self_test(bench: Bench, text: Contrast) -> SelfTest:
    """Check the copy, the points, the token nodes and the activation function on one prompt.

    Raises:
        CollectionError: one of them is off, so that no score may be quoted.
    """
    read = _read(bench.model, text.continuation())
    ids, embedded = read.token_ids[0], read.at[bench.model.layout.embedding][0]
    rows = bench.model.parameter(f"{bench.model.layout.embedding}.weight")[ids]
    own, copy = read.logits[0].double(), bench.engine.logits(ids).double().to(read.logits.device)
    found = SelfTest(
        parity=bench.model.parity(),
        logits=float((own - copy).abs().max() / own.abs().max()),
        unexplained=bench.engine.unexplained(ids, embedded, bench.limits),
        embedding_scale=float(embedded.double().norm() / rows.double().norm()),
        fvu=bench.fit.fvu,
        l0=bench.fit.l0,
        tokens=bench.fit.tokens,
    )
    allowed = TOLERANCE if bench.model.environment.dtype == "float32" else COARSE
    lost = transcoder_files.lost_activation(bench.transcoders.settings, bench.fit.l0)
    if lost is not None:
        raise CollectionError(f"the transcoders do not do what they were trained to do: {lost}")
    for name, limit in (("logits", allowed), ("unexplained", allowed), ("parity", max(_PARITY, allowed))):
        if not getattr(found, name) <= limit:
            raise CollectionError(
                f"self-test: {name} is {getattr(found, name):.3g}, more than {limit:g}; the graph would not be of this model",
                hint="The engines may differ in attention (softcaps), or the points in transcoders.json may be wrong.",
            )
    return found


def trace(
    bench: Bench, text: Contrast, params: CircuitTraceParameters, seed: str
) -> tuple[dict[str, Any], Artifact, Mapping[str, NDArray[Any]]]:
    """Return what one prompt gives: its trial's measurements, its graph as a document, its circuit as arrays.

    Raises:
        CollectionError: it cannot be traced.
    """
    asked = text.continuation()
    read = _read(bench.model, asked)
    ids, embedded = read.token_ids[0], read.at[bench.model.layout.embedding][0]
    if len(ids) <= params.left_out + 1:
        raise CollectionError(f"{text.id}: {len(ids)} tokens, and the first {params.left_out} have no nodes")
    traced = bench.engine.trace(ids, embedded, bench.limits)
    graph = traced.graph
    scores = _scores(graph)
    width = bench.transcoders.settings.width
    with bench.engine.shuffled([_order(seed, f"decoder-{layer}", width) for layer in range(graph.layers)]):
        null = bench.engine.trace(ids, embedded, bench.limits)
    null_scores = _scores(null.graph)
    pruned = graphs.prune(graph, nodes=params.node_share, edges=params.edge_share)
    agreed = graphs.consensus(graph, nodes=params.grid_nodes, edges=params.grid_edges)
    weights = graph.probabilities / graph.probabilities.sum()
    predicted, observed = _interventions(bench, asked, graph, params, seed, weights)
    core = graphs.ends(agreed.core)
    measured = Prompt(
        label=text.label,
        family=text.family,
        pair=text.pair,
        tokens=graph.positions,
        active_features=graph.active,
        graph_features=len(graph.features),
        target_share=float(graph.probabilities.sum()),
        scores=_scored(scores),
        shuffled=_scored(null_scores),
        cross_check=max(_apart(scores, traced), _apart(null_scores, null)),
        nodes=int(pruned.nodes.sum()),
        edges=int(pruned.edges.sum()),
        core_nodes=int(core.sum()),
        edge_scores=agreed.histogram,
        circuit=graphs.identities(graph, pruned.nodes, width),
        core=graphs.identities(graph, core, width),
        patched=_patched(bench, asked, graph, pruned, weights, seed),
        predicted=predicted,
        observed=observed,
    )
    drawn = artifacts.Drawn(
        item=text.id,
        graph=graph,
        pruned=pruned,
        consensus=agreed,
        scores=scores,
        token_texts=[bench.model.token_text([int(one)]) for one in ids],
        target_texts=[bench.model.token_text([one]) for one in graph.targets],
        weights_sha256=bench.model.subject.weights_sha256,
        transcoders_sha256=bench.transcoders.settings.sha256,
    )
    made = artifacts.document(drawn, most_nodes=params.drawn_nodes, left_out=params.left_out, frozen=engine.FROZEN)
    return as_json(measured), made, artifacts.arrays(text.id, graph, pruned)


def _patched(
    bench: Bench, asked: Continuation, graph: Graph, pruned: Pruned, weights: NDArray[np.float64], seed: str
) -> Patched:
    kept = patching.nodes_kept(graph, pruned.nodes, bench.transcoders.settings.width)
    nothing = Kept(np.zeros_like(kept.features), np.zeros_like(kept.errors))
    drawn = patching.nodes_kept(graph, _random_nodes(graph, pruned, seed), bench.transcoders.settings.width)

    def metric(part: Kept, means: Means = bench.means[0]) -> float:
        return bench.patcher.metric(asked, graph.targets, weights, bench.patcher.keep(part, means))

    return Patched(
        whole=bench.patcher.metric(asked, graph.targets, weights),
        empty=metric(nothing),
        empty_halves=(metric(nothing, bench.means[1]), metric(nothing, bench.means[2])),
        circuit=metric(kept),
        circuit_without_errors=metric(kept.without_errors()),
        complement=metric(kept.inverted()),
        random=metric(drawn),
    )


def _random_nodes(graph: Graph, pruned: Pruned, seed: str) -> NDArray[np.bool_]:
    """Return nodes drawn from the graph, as many features and errors in each layer as the circuit has."""
    found = np.zeros_like(pruned.nodes)
    errors = np.arange(graph.errors.start, graph.errors.stop).reshape(graph.layers, graph.positions)
    for layer in range(graph.layers):
        for name, group in (
            ("features", np.flatnonzero(graph.features[:, 0] == layer)),
            ("errors", errors[layer]),
        ):
            order = _order(seed, f"random-{name}-{layer}", len(group))
            found[group[order[: int(pruned.nodes[group].sum())]]] = True
    return found


def _interventions(
    bench: Bench,
    asked: Continuation,
    graph: Graph,
    params: CircuitTraceParameters,
    seed: str,
    weights: NDArray[np.float64],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return predicted and observed falls of the metric: half for the strongest features, half for others, drawn."""
    effects = graphs.total_effects(graph, weights)
    strongest = np.argsort(-np.abs(effects), kind="stable")
    half = min(params.interventions // 2, len(strongest))
    rest = strongest[half:]
    chosen = [*strongest[:half], *rest[_order(seed, "interventions", len(rest))[: params.interventions - half]]]
    whole = bench.patcher.metric(asked, graph.targets, weights)
    observed = [
        whole
        - bench.patcher.metric(
            asked, graph.targets, weights, bench.patcher.remove(graph.features[one], graph.activations[one])
        )
        for one in chosen
    ]
    return tuple(float(effects[one]) for one in chosen), tuple(observed)


def _read(model: WhiteBoxModel, asked: Continuation) -> Activations:
    (batch,) = model.capture([asked], [model.layout.embedding], logits=True)
    return batch


def _scores(graph: Graph) -> Scores:
    found = graphs.scores(graph)
    if found is None:
        raise CollectionError("no influence reaches a token or an error: the graph is empty")
    return found


def _scored(scores: Scores) -> Scored:
    return Scored(replacement=scores.replacement, completeness=scores.completeness, error_share=scores.error_share)


def _apart(scores: Scores, traced: engine.Traced) -> float:
    return max(abs(scores.replacement - traced.replacement), abs(scores.completeness - traced.completeness))


def _order(seed: str, what: str, count: int) -> NDArray[np.int64]:
    """Return an order of ``count`` things, fixed by the seed and a word."""
    own = trial_seed(seed, KIND, TrialKey(item="order", arm=what, repeat=0))
    return np.argsort(np.random.PCG64(int(own, 16)).random_raw(count), kind="stable")


def artifact(found: Mapping[str, NDArray[Any]]) -> Iterator[Artifact]:
    """Yield the circuits of all prompts as one safetensors file, if there are any."""
    from evidence_collectors.interpretability.reading import to_safetensors

    if found:
        yield Artifact("circuits.safetensors", "application/vnd.safetensors", to_safetensors(found))
