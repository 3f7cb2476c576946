"""How do we read dictionaries' features off a model, and how do others? The same work each: counts and sums by feature.

Every variant takes token rows, runs the model to a point, encodes what passes there, and adds up for each feature of each
dictionary how often and how strongly it is active on real tokens. ``ours`` uses the engine of this project and, where a
dictionary is wide, adds up active entries only. The others do it as their documentation shows, with dense sums; none encodes
padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from benchmarks.shapes import Shape
from evidence_collectors.interpretability.sparse_statistics import active_entries
from evidence_collectors.models.activations import Batching, Pass, TokenRow, passes
from evidence_collectors.models.dictionaries import Dictionary
from evidence_collectors.models.dictionary_files import import_sae_lens

Rows = Sequence[Sequence[int]]
Totals = list[tuple[Any, Any]]  # by dictionary: (F,) counts, (F,) sums
Variant = Callable[[Rows, int], Totals]  # texts, and how many go together at most
Read = Callable[[Any, Any], Iterator[Any]]  # ids and mask (r, p) to the features (n, F) of each dictionary in turn
SPARSE_FROM = 4096  # features; below, a dense sum costs less than finding the active entries
OURS, BEST_PEER, TUTORIAL = "ours", "sae_lens hook_names + stop", "transformer_lens full cache"
PASS_EACH = f"{BEST_PEER}, a pass for each dictionary"
NAMES = (OURS, "ours, dense sums", BEST_PEER, PASS_EACH, TUTORIAL, "output_hidden_states")


def make(name: str, model: Any, dictionaries: Sequence[Dictionary], shape: Shape) -> Variant:
    """Return a variant. Raises whatever its library raises if it cannot."""
    if name.startswith(OURS):
        sparse = name == OURS and dictionaries[0].width >= SPARSE_FROM
        return _ours(model, dictionaries, point_of(shape), sparse=sparse)
    saes = [_sae(one) for one in dictionaries]
    if name in (BEST_PEER, PASS_EACH):
        return _batched(_sae_lens(model, saes, shape, each=name == PASS_EACH), saes)
    if name == TUTORIAL:
        return _batched(_transformer_lens(model, saes, shape), saes)
    return _batched(_hidden_states(model, saes, shape), saes)


def point_of(shape: Shape) -> str:
    """Return the point that is read."""
    return f"model.layers.{shape.at}"


def activations(model: Any, shape: Shape, token_rows: Rows) -> Any:
    """Return what passes the point on all tokens, (n, d): for thresholds."""
    batches = passes(model, _rows(token_rows), Pass((point_of(shape),)), Batching(4))
    return torch.cat([batch.at[point_of(shape)][batch.mask] for batch in batches])


def _ours(model: Any, dictionaries: Sequence[Dictionary], point: str, *, sparse: bool) -> Variant:
    def run(token_rows: Rows, rows: int) -> Totals:
        totals = _zeros(dictionaries[0].w_enc, len(dictionaries))
        for batch in passes(model, _rows(token_rows), Pass((point,)), Batching(rows)):
            value = batch.at[point][batch.mask]
            for dictionary, (counts, sums) in zip(dictionaries, totals, strict=True):
                if not sparse:
                    _add_dense(counts, sums, dictionary.encode(value))
                    continue
                for _, feature, strength in active_entries(dictionary, value, chunk=len(value)):
                    counts += torch.bincount(feature, minlength=dictionary.width)
                    sums.index_add_(0, feature, strength.float())
        return totals

    return run


def _sae_lens(model: Any, saes: Sequence[Any], shape: Shape, *, each: bool) -> Read:
    from sae_lens.load_model import HookedProxyLM

    point = point_of(shape)
    proxy = HookedProxyLM(model, None, hook_names=[point])

    def features(ids: Any, mask: Any) -> Iterator[Any]:
        for number, sae in enumerate(saes):
            if each or not number:
                _, cache = proxy.run_with_cache(ids, names_filter=[point], stop_at_layer=shape.at + 1)
            yield sae.encode(cache[point][mask])

    return features


def _transformer_lens(model: Any, saes: Sequence[Any], shape: Shape) -> Read:
    hooked = _hooked_transformer(model, shape)

    def features(ids: Any, mask: Any) -> Iterator[Any]:
        _, cache = hooked.run_with_cache(ids)
        for sae in saes:
            yield sae.encode(cache[f"blocks.{shape.at}.hook_resid_post"][mask])

    return features


def _hidden_states(model: Any, saes: Sequence[Any], shape: Shape) -> Read:
    def features(ids: Any, mask: Any) -> Iterator[Any]:
        out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
        for sae in saes:
            yield sae.encode(out.hidden_states[shape.at + 1][mask])

    return features


def _batched(features: Read, saes: Sequence[Any]) -> Variant:
    """Return a variant that pads rows as they come, which is what these libraries leave to their user."""

    def run(token_rows: Rows, rows: int) -> Totals:
        weight = saes[0].W_enc
        totals = _zeros(weight, len(saes))
        for start in range(0, len(token_rows), rows):
            part = token_rows[start : start + rows]
            longest = max(map(len, part))
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in part], device=weight.device)
            lengths = torch.tensor([len(row) for row in part], device=weight.device)
            mask = torch.arange(longest, device=weight.device) < lengths[:, None]
            for (counts, sums), found in zip(totals, features(ids, mask), strict=True):
                _add_dense(counts, sums, found)
        return totals

    return run


def _zeros(weight: Any, dictionaries: int) -> Totals:
    made = [torch.zeros(weight.shape[1], device=weight.device) for _ in range(2 * dictionaries)]
    return list(zip(made[::2], made[1::2], strict=True))


def _add_dense(counts: Any, sums: Any, features: Any) -> None:
    counts += (features > 0).sum(dim=0)
    sums += features.sum(dim=0, dtype=torch.float32)


def _rows(token_rows: Rows) -> list[TokenRow]:
    return [TokenRow(index, tuple(row), len(row)) for index, row in enumerate(token_rows)]


def _sae(dictionary: Dictionary) -> Any:
    """Return the same dictionary as an ``sae_lens.SAE``; it shares the memory."""
    import_sae_lens()
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

    weight = dictionary.w_enc
    name = str(weight.dtype).removeprefix("torch.")
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=1, d_sae=1, dtype=name, device=str(weight.device)))
    sae.cfg.d_in, sae.cfg.d_sae = weight.shape
    own = {"W_enc": weight, "b_enc": dictionary.b_enc, "W_dec": dictionary.w_dec, "b_dec": dictionary.b_dec}
    for key, value in {**own, "threshold": dictionary.threshold}.items():
        setattr(sae, key, torch.nn.Parameter(value, requires_grad=False))
    return sae.eval().requires_grad_(False)


def _hooked_transformer(model: Any, shape: Shape) -> Any:
    """Return TransformerLens' own model with these weights, as its documentation loads one: nothing folded."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained import weight_conversions

    if shape.family != "llama":
        raise NotImplementedError("TransformerLens 3 builds no Gemma 3 from a configuration of one's own")
    rope = getattr(model.config, "rope_parameters", None)  # the name since transformers 5
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
        rotary_base=int(rope["rope_theta"] if rope else model.config.rope_theta),
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
