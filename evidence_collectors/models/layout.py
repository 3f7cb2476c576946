"""Where in this model do the residual stream, the attention and the MLPs lie? Points are module paths."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from dossier.errors import CollectionError
from dossier.language_model import Layout

SIDE = ":in"  # a point ending in this is a module's input
_NAMES = {
    "attention": ("self_attn", "attention", "attn", "self_attention"),
    "mlp": ("mlp", "feed_forward", "block_sparse_moe"),
}


def layout_of(model: Any) -> Layout:
    """Return where a decoder's parts lie.

    Raises:
        CollectionError: no list of blocks with attention and MLP, or no final norm.
    """
    modules = dict(model.named_modules())
    count = int(model.config.get_text_config().num_hidden_layers)
    lists = [
        name
        for name, module in modules.items()
        if isinstance(module, torch.nn.ModuleList)
        and len(module) == count
        and all(map(partial(_part, module[0]), _NAMES))
    ]
    if not lists:
        raise CollectionError(
            f"{type(model).__name__}: no list of {count} decoder blocks found",
            hint="Write an adapter for this architecture and register it under 'dossier.models'.",
        )
    blocks = lists[0]
    parent = modules[blocks.rpartition(".")[0]]
    names = {id(module): name for name, module in modules.items()}
    children = dict(parent.named_children())
    after = list(children)[list(children).index(blocks.rpartition(".")[2]) + 1 :]  # the norm of embeddings comes before
    norms = [name for name in after if "norm" in type(children[name]).__name__.lower()]
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not norms or head is None:
        raise CollectionError(
            f"{type(model).__name__}: no norm after the blocks, or no unembedding found",
            hint="Write an adapter for this architecture and register it under 'dossier.models'.",
        )
    residual = tuple(f"{blocks}.{index}" for index in range(count))
    return Layout(
        embedding=names[id(embedding)],
        residual=residual,
        attention=tuple(f"{name}.{_part(modules[name], 'attention')}" for name in residual),
        mlp=tuple(f"{name}.{_part(modules[name], 'mlp')}" for name in residual),
        final_norm=f"{blocks.rpartition('.')[0]}.{norms[-1]}",
        unembedding=names[id(head)],
        d_model=int(embedding.weight.shape[1]),
        vocabulary=int(head.weight.shape[0]),
    )


def check_points(model: Any, points: Sequence[str]) -> None:
    """Refuse a point that is no module.

    Raises:
        CollectionError: names the point and a near one.
    """
    known = dict(model.named_modules()) if points else {}
    for point in points:
        name = point.removesuffix(SIDE)
        if name not in known or not name:
            near = difflib.get_close_matches(name, known, n=1)
            raise CollectionError(
                f"point {point!r} is no module of {type(model).__name__}{f'; did you mean {near[0]!r}?' if near else ''}",
                hint="A point is a module path; `layout` lists those of the residual stream.",
            )


def _part(block: Any, part: str) -> str | None:
    children = dict(block.named_children())
    return next((name for name in _NAMES[part] if name in children), None)
