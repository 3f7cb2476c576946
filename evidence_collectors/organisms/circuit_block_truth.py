"""What are the scores of a prompt's graph on the one-block model, by hand? Sums over its three kinds of paths.

With attention silent only the last word counts. A traced logit has the row: features a_f (u . W_dec[f]), error u . e, word
u . x, each over the final norm's scale, u the logit's unembedding less the mean; a feature's row has its word alone. The
circuit, its faithfulness and the effects of single features follow. No library of graphs and no instrument takes part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evidence_collectors.organisms.circuit_block import EPSILON, FEATURES, Array, Block, read


@dataclass(frozen=True)
class Traced:
    """What the graph of a prompt is made of; t logits.

    ``activations`` (f,) of the transcoder, ``written`` (f, d) by each feature, ``error`` (d,), ``chances`` (t,) and
    ``targets`` (t,) of the traced logits; ``by_feature`` (t, f), ``by_error`` (t,) and ``by_word`` (t,) are the rows.
    """

    activations: Array
    written: Array
    error: Array
    word: Array
    targets: NDArray[np.int64]
    chances: Array
    by_feature: Array
    by_error: Array
    by_word: Array


@dataclass(frozen=True)
class Setting:
    """How prompts are traced: see the parameters of ``interpretability.circuit_trace``."""

    missing: int
    logits: int = 5
    probability: float = 0.95
    nodes: float = 0.8
    edges: float = 0.98


def traced(block: Block, word: int, setting: Setting, *, order: NDArray[np.int64] | None = None) -> Traced:
    """Return the graph of a prompt that ends in a word; ``order`` shuffles the transcoder's decoder rows."""
    x, on = block.embedding[word], activations(block, word)
    held = np.arange(FEATURES) < FEATURES - setting.missing
    decoder = np.where(held[:, None], block.decoder, 0.0)
    kept = np.where(held, on, 0.0)
    written = kept[:, None] * (decoder if order is None else decoder[order])
    error = on @ block.decoder - written.sum(axis=0)
    h = x + on @ block.decoder
    chances = softmax(block.unembedding @ (h / _scale(h)))
    top = np.argsort(-chances, kind="stable")[: setting.logits]
    top = top[: int(np.searchsorted(np.cumsum(chances[top]), setting.probability)) + 1]
    rows = (block.unembedding[top] - block.unembedding.mean(axis=0)) / _scale(h)
    return Traced(kept, written, error, x, top, chances[top], rows @ written.T, rows @ error, rows @ x)


def scores(one: Traced) -> Mapping[str, float]:
    """Return replacement, completeness and error_share."""
    features, error, word = _influences(one)
    tokens = word + features.sum()  # a feature is fed by its word alone
    everything = one.chances.sum() + features.sum() + error + tokens
    return {
        "replacement": tokens / (tokens + error),
        "completeness": (everything - error) / everything,
        "error_share": error / (features.sum() + error + tokens),
    }


def circuit(one: Traced, setting: Setting) -> tuple[NDArray[np.bool_], bool]:
    """Return which features the pruned graph keeps (f,), and whether it keeps the error."""
    features, error, word = _influences(one)
    least = _least([*features, error, word + features.sum()], setting.nodes)
    kept, error_kept = (features >= least) & (features > 0.0), bool(error >= least and error > 0.0)
    matrix = np.abs(np.column_stack([np.where(kept, one.by_feature, 0.0), one.by_error * error_kept, one.by_word]))
    onto = one.chances[:, None] * matrix / matrix.sum(axis=1, keepdims=True)  # edges into logits, (t, f + 2)
    fed = onto[:, :FEATURES].sum(axis=0)  # edges from the word into features: their whole influence
    edge = _least([*onto.ravel(), *fed], setting.edges)
    leads = (onto >= edge).any(axis=0)
    return kept & leads[:FEATURES] & (fed >= edge), error_kept and bool(leads[FEATURES])


def faithfulness(
    block: Block, one: Traced, setting: Setting, means: tuple[Array, Array]
) -> tuple[float, Mapping[str, float]]:
    """Return the effect to be explained, in nats, and the shares of it that are left, by name.

    ``means`` are those of the features' activations (f,) and of the error (d,) over the reference prompts.
    """
    kept, error_kept = circuit(one, setting)
    decoder = np.where(np.arange(FEATURES)[:, None] < FEATURES - setting.missing, block.decoder, 0.0)

    def metric(features: NDArray[np.bool_], error: bool) -> float:
        on = np.where(features, one.activations, means[0])
        return _metric(block, one, one.word + on @ decoder + (one.error if error else means[1]))

    nothing, everything = np.zeros(FEATURES, dtype=bool), np.ones(FEATURES, dtype=bool)
    empty = metric(nothing, error=False)
    effect = metric(everything, error=True) - empty
    shares = {
        "faithfulness": (metric(kept, error_kept) - empty) / effect,
        "faithfulness_without_errors": (metric(kept, error=False) - empty) / effect,
        "complement": (metric(~kept, not error_kept) - empty) / effect,
    }
    return effect, shares


def effects(block: Block, one: Traced) -> tuple[Array, Array]:
    """Return by how much the metric falls without each active feature: by the graph, and by the model itself."""
    active = np.flatnonzero(one.activations)
    h = one.word + one.written.sum(axis=0) + one.error
    weights = one.chances / one.chances.sum()
    whole = _metric(block, one, h)
    return weights @ one.by_feature[:, active], np.array(
        [whole - _metric(block, one, h - one.written[f]) for f in active]
    )


def means(block: Block, words: Sequence[int], setting: Setting) -> tuple[Array, Array]:
    """Return the means of features and error over prompts that end in these words."""
    found = [traced(block, word, setting) for word in words]
    return np.mean([one.activations for one in found], axis=0), np.mean([one.error for one in found], axis=0)


def activations(block: Block, word: int) -> Array:
    """Return the block's own features at a word (f,)."""
    found: Array = np.maximum(block.encoder @ read(block, word) + block.encoder_bias, 0.0)
    return found


def softmax(logits: Array) -> Array:
    """Return the probabilities of logits."""
    scaled = np.exp(logits - logits.max())
    found: Array = scaled / scaled.sum()
    return found


def _influences(one: Traced) -> tuple[Array, float, float]:
    """Return I of the features (f,), of the error, and of the word by its direct edges."""
    features, error, word = np.abs(one.by_feature), np.abs(one.by_error), np.abs(one.by_word)
    share = one.chances / (features.sum(axis=1) + error + word)
    return share @ features, float(share @ error), float(share @ word)


def _metric(block: Block, one: Traced, h: Array) -> float:
    logits = block.unembedding @ (h / _scale(h))
    return float((logits[one.targets] - logits.mean()) @ (one.chances / one.chances.sum()))


def _least(values: Sequence[float], share: float) -> float:
    """Return the smallest value needed for the largest ones to reach a share of the sum."""
    total, running = sum(values), 0.0
    for value in sorted(values, reverse=True):
        running += value
        if running / total >= share:
            return value
    return min(values)


def _scale(h: Array) -> float:
    return float(np.sqrt((h**2).mean() + EPSILON))
