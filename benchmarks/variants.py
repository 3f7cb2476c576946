"""How do we read a dictionary's features off a model, and how do others? The same work each: counts and sums by feature.

Every variant takes token rows, runs the model to a point, encodes what passes there, and adds up for each feature how often
and how strongly it is active on real tokens. ``ours`` uses the engine of this project and, where a dictionary is wide, adds
up active entries only. The others do it as their documentation shows, with dense sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.shapes import Shape
from evidence_collectors.models.activations import Batching, Pass, passes
from evidence_collectors.models.activations import TokenRow as Row
from evidence_collectors.models.dictionary_files import from_sae

Rows = Sequence[Sequence[int]]
Totals = tuple[Any, Any]  # (F,) counts, (F,) sums
Variant = Callable[[Rows], Totals]
SPARSE_FROM = 4096  # features; below, a dense sum costs less than finding the active entries
BEST_PEER, TUTORIAL = "sae_lens hook_names + stop", "transformer_lens full cache"
NAMES = ("ours", "ours, dense sums", BEST_PEER, TUTORIAL, "output_hidden_states")


def make(name: str, model: Any, sae: Any, shape: Shape, *, rows: int) -> Variant:
    """Return a variant that reads at most ``rows`` texts at a time. Raises whatever its library raises if it cannot."""
    point = f"model.layers.{shape.at}"
    if name.startswith("ours"):
        return _ours(model, sae, point, rows, sparse=name == "ours" and sae.W_enc.shape[1] >= SPARSE_FROM)
    if name == BEST_PEER:
        return _sae_lens(model, sae, point, shape, rows)
    if name == TUTORIAL:
        return _transformer_lens(model, sae, shape, rows)
    return _hidden_states(model, sae, shape, rows)


def activations(model: Any, shape: Shape, token_rows: Rows) -> Any:
    """Return what passes the point on all tokens, (n, d): for thresholds and parity."""
    parts = []
    for batch in passes(model, _rows(token_rows), Pass((f"model.layers.{shape.at}",)), Batching(4)):
        parts.append(batch.at[f"model.layers.{shape.at}"][batch.mask])
    return torch.cat(parts)


def _ours(model: Any, sae: Any, point: str, rows: int, *, sparse: bool) -> Variant:
    dictionary = from_sae(sae, name="random")

    def run(token_rows: Rows) -> Totals:
        counts = torch.zeros(dictionary.width, device=sae.W_enc.device)
        sums = torch.zeros_like(counts)
        for batch in passes(model, _rows(token_rows), Pass((point,)), Batching(rows)):
            features = dictionary.encode(batch.at[point][batch.mask])
            if not sparse:
                _add_dense(counts, sums, features)
                continue
            place = features.nonzero(as_tuple=True)
            counts += torch.bincount(place[1], minlength=dictionary.width)
            sums.index_add_(0, place[1], features[place].float())
        return counts, sums

    return run


def _sae_lens(model: Any, sae: Any, point: str, shape: Shape, rows: int) -> Variant:
    from sae_lens.load_model import HookedProxyLM

    proxy = HookedProxyLM(model, None, hook_names=[point])

    def features(ids: Any) -> Any:
        _, cache = proxy.run_with_cache(ids, names_filter=[point], stop_at_layer=shape.at + 1)
        return sae.encode(cache[point])

    return _batched(features, sae, rows)


def _transformer_lens(model: Any, sae: Any, shape: Shape, rows: int) -> Variant:
    hooked = _hooked_transformer(model, shape)

    def features(ids: Any) -> Any:
        _, cache = hooked.run_with_cache(ids)
        return sae.encode(cache[f"blocks.{shape.at}.hook_resid_post"])

    return _batched(features, sae, rows)


def _hidden_states(model: Any, sae: Any, shape: Shape, rows: int) -> Variant:
    def features(ids: Any) -> Any:
        out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
        return sae.encode(out.hidden_states[shape.at + 1])

    return _batched(features, sae, rows)


def _batched(features: Callable[[Any], Any], sae: Any, rows: int) -> Variant:
    """Return a variant that pads rows as they come, which is what these libraries leave to their user."""

    def run(token_rows: Rows) -> Totals:
        device = sae.W_enc.device
        counts = torch.zeros(sae.W_enc.shape[1], device=device)
        sums = torch.zeros_like(counts)
        for start in range(0, len(token_rows), rows):
            part = token_rows[start : start + rows]
            longest = max(map(len, part))
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in part], device=device)
            mask = (
                torch.arange(longest, device=device) < torch.tensor([len(row) for row in part], device=device)[:, None]
            )
            _add_dense(counts, sums, features(ids)[mask])
        return counts, sums

    return run


def _add_dense(counts: Any, sums: Any, features: Any) -> None:
    counts += (features > 0).sum(dim=0)
    sums += features.float().sum(dim=0)


def _rows(token_rows: Rows) -> list[Row]:
    return [Row(index, tuple(row), len(row)) for index, row in enumerate(token_rows)]


def _hooked_transformer(model: Any, shape: Shape) -> Any:
    """Return TransformerLens' own model with these weights, as its documentation loads one: nothing folded."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained import weight_conversions

    if shape.family != "llama":
        raise NotImplementedError("TransformerLens 3 builds no Gemma 3 from a configuration of one's own")
    config = HookedTransformerConfig(
        n_layers=shape.layers,
        d_model=shape.width,
        n_ctx=2048,
        d_head=shape.head,
        n_heads=shape.heads,
        n_key_value_heads=shape.key_heads,
        d_mlp=shape.inner,
        d_vocab=shape.vocabulary,
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=shape.head,
        rotary_base=int(model.config.rope_theta),
        final_rms=True,
        gated_mlp=True,
        eps=model.config.rms_norm_eps,
        device=str(model.device),
        dtype=model.dtype,
        default_prepend_bos=False,
    )
    hooked = HookedTransformer(config)
    state = weight_conversions.convert_llama_weights(model, config)
    hooked.load_and_process_state_dict(
        state, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    return hooked.eval().requires_grad_(False)
