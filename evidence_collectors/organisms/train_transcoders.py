"""How are transcoders for a small model made? ``python -m evidence_collectors.organisms.train_transcoders --model FOLDER ...``.

What goes into every MLP and what comes out is captured on the items of some splits. Small models have few tokens to learn
from, so each is also captured on its way to another: with a share, drawn anew, of another token's input mixed into its own.
Then, layer by layer, a TopK transcoder is fitted by Adam. One thread, one seed: the same machine makes the same bytes. What
is written beside the weights (features per token, variance unexplained) is measured afterwards, on splits that trained
nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dossier import canonical
from dossier.errors import ConfigError
from dossier.language_model import Edit
from dossier.model import digest_of
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast, Split
from evidence_collectors.models import hf, transcoders
from evidence_collectors.models.transcoders import Activation, InputHook, Layer, OutputHook, Settings

HOOKS: dict[str, tuple[InputHook, OutputHook]] = {  # by architecture, as circuit-tracer 0.5.0 names its points
    "LlamaForCausalLM": ("mlp.hook_in", "mlp.hook_out"),
    "Qwen3ForCausalLM": ("mlp.hook_in", "mlp.hook_out"),
    "Gemma2ForCausalLM": ("hook_resid_mid", "hook_mlp_out"),
    "Gemma3ForCausalLM": ("mlp.hook_in", "hook_mlp_out"),
}
TRAIN: tuple[Split, ...] = ("train",)
HELD_OUT: tuple[Split, ...] = ("validation",)
_BATCH = 512  # tokens
_RATE = 4e-3


@dataclass(frozen=True)
class Recipe:
    """How a set is fitted: ``width`` features a layer, ``k`` of them on at a token."""

    width: int = 256
    k: int = 16
    steps: int = 1200
    copies: int = 8  # of every token, mixed
    seed: int = 0


@dataclass(frozen=True)
class Tokens:
    """What passed the MLPs, by layer: what went in and what came out, (token, d) each. First tokens are left out."""

    reads: tuple[NDArray[np.float64], ...]
    writes: tuple[NDArray[np.float64], ...]


def captured(model: Any, texts: Sequence[Contrast], settings: Settings) -> Tokens:
    """Return what passes the MLPs on all tokens but the first of each text."""
    points = transcoders.points_of(model.layout, settings)
    found: dict[str, list[NDArray[np.float64]]] = {point: [] for point in (*points.reads, *points.writes)}
    _append(found, model, texts, [])
    return Tokens(
        tuple(np.concatenate(found[point]) for point in points.reads),
        tuple(np.concatenate(found[point]) for point in points.writes),
    )


def mixed(model: Any, texts: Sequence[Contrast], settings: Settings, plain: Tokens, recipe: Recipe) -> Tokens:
    """Return the tokens, and copies of them captured with another token's input mixed in, layer by layer."""
    points = transcoders.points_of(model.layout, settings)
    generator = torch.Generator().manual_seed(recipe.seed)
    reads, writes = [], []
    for layer, (read, written) in enumerate(zip(points.reads, points.writes, strict=True)):
        pool = torch.tensor(plain.reads[layer], dtype=torch.float32)

        def change(value: Any, pool: Any = pool) -> Any:
            share = torch.rand(value.shape[:2], generator=generator)[:, :, None]
            drawn = pool[torch.randint(len(pool), value.shape[:2], generator=generator)]
            return (1.0 - share) * value + share * drawn

        found: dict[str, list[NDArray[np.float64]]] = {
            read: [plain.reads[layer]],
            written: [plain.writes[layer]],
        }
        for _ in range(recipe.copies):
            _append(found, model, texts, [Edit(read, change)])
        reads.append(np.concatenate(found[read]))
        writes.append(np.concatenate(found[written]))
    return Tokens(tuple(reads), tuple(writes))


def fit(tokens: Tokens, recipe: Recipe, *, report: Callable[[str], object] | None = None) -> tuple[Layer, ...]:
    """Return a transcoder for every layer."""
    layers = []
    for index, (reads, writes) in enumerate(zip(tokens.reads, tokens.writes, strict=True)):
        layer, loss = _fit(reads, writes, recipe, seed=recipe.seed * 1000 + index)
        layers.append(layer)
        if report is not None:
            report(f"layer {index}: variance unexplained in training {loss:.4f}, {len(reads)} tokens")
    return tuple(layers)


def measured(layers: Sequence[Layer], tokens: Tokens, activation: Activation) -> tuple[list[float], list[float]]:
    """Return, by layer, features per token and the variance unexplained."""
    l0, fvu = [], []
    for layer, reads, writes in zip(layers, tokens.reads, tokens.writes, strict=True):
        found = transcoders.features(layer, reads, activation)
        error = writes - found @ layer.decoder - layer.decoder_bias
        l0.append(float((found != 0.0).sum() / len(found)))
        fvu.append(float((error**2).sum() / ((writes - writes.mean(axis=0)) ** 2).sum()))
    return l0, fvu


def make(model_folder: Path, items: Path, out: Path, recipe: Recipe, *, report: Callable[[str], object]) -> Settings:
    """Train transcoders for a model on an items file and write their folder.

    Raises:
        ConfigError: an architecture without known points, or too few texts.
    """
    torch.set_num_threads(1)  # sums in one order
    model = hf.load(str(model_folder))
    architecture = type(model.loaded.model).__name__
    if architecture not in HOOKS:
        raise ConfigError(f"{model_folder}: no points are known for {architecture}; known are {', '.join(HOOKS)}")
    texts = contrast.parse(canonical.load_lines(items.read_bytes(), where=str(items)))
    training, held_out = (contrast.chosen(texts, splits=splits) for splits in (TRAIN, HELD_OUT))
    if len(training) < 2 or len(held_out) < 2:
        raise ConfigError(f"{items}: needs two texts or more of the splits {TRAIN} and {HELD_OUT} each")
    settings = Settings(
        activation=Activation(name="topk", k=recipe.k),
        input_hook=HOOKS[architecture][0],
        output_hook=HOOKS[architecture][1],
        d_model=model.layout.d_model,
        width=recipe.width,
        sha256=(),
        l0=(),
        fvu=(),
        trained_on=f"subject {digest_of(model.subject)}",
        weights_sha256=model.subject.weights_sha256,
        tokens=0,
    )
    tokens = captured(model, training, settings)
    layers = fit(mixed(model, training, settings, tokens, recipe), recipe, report=report)
    l0, fvu = measured(layers, captured(model, held_out, settings), settings.activation)
    known = {"l0": tuple(l0), "fvu": tuple(fvu), "tokens": len(tokens.reads[0])}
    return transcoders.save(out, layers, settings.model_copy(update=known))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write the transcoders that the command line names."""
    parser = argparse.ArgumentParser(description="Train per-layer TopK transcoders for a small model.")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--items", type=Path, help="contrast items; default: items.jsonl of the model folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--width", type=int, default=Recipe.width)
    parser.add_argument("--k", type=int, default=Recipe.k)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    options = parser.parse_args(arguments)
    recipe = Recipe(width=options.width, k=options.k, steps=options.steps, seed=options.seed)
    items = options.items or options.model / "items.jsonl"
    settings = make(options.model, items, options.out, recipe, report=_print)
    _print("held-out fvu " + " ".join(f"{value:.4f}" for value in settings.fvu))
    return 0


def _append(
    found: dict[str, list[NDArray[np.float64]]], model: Any, texts: Sequence[Contrast], edits: Sequence[Edit]
) -> None:
    for batch in model.capture([text.continuation() for text in texts], tuple(found), edits=edits):
        used = batch.mask.clone()
        used[:, 0] = False
        for point in found:
            found[point].append(batch.at[point][used].double().cpu().numpy())


def _fit(reads: NDArray[np.float64], writes: NDArray[np.float64], recipe: Recipe, *, seed: int) -> tuple[Layer, float]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.tensor(reads, dtype=torch.float32), torch.tensor(writes, dtype=torch.float32)
    spread = (y - y.mean(dim=0)).square().sum(dim=1).mean().clamp(min=1e-12)
    encoder = torch.randn(recipe.width, x.shape[1], generator=generator) / x.shape[1] ** 0.5
    decoder = torch.randn(recipe.width, y.shape[1], generator=generator) * (spread / recipe.k / y.shape[1]).sqrt()
    parts = [encoder, torch.zeros(recipe.width), decoder, y.mean(dim=0)]
    for part in parts:
        part.requires_grad_(True)
    optimiser = torch.optim.Adam(parts, lr=_RATE, betas=(0.9, 0.99))
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, 2.0 * (1.0 - step / recipe.steps))
        rows = torch.randint(len(x), (_BATCH,), generator=generator)
        loss = (_replaced(x[rows], parts, recipe.k) - y[rows]).square().sum(dim=1).mean() / spread
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    w_enc, b_enc, w_dec, b_dec = (part.detach().numpy() for part in parts)
    return Layer(w_enc, w_dec, b_enc, b_dec, None), float(loss.detach())


def _replaced(x: Any, parts: Sequence[Any], k: int) -> Any:
    before = x @ parts[0].T + parts[1]
    values, kept = before.topk(k, dim=-1)
    return torch.zeros_like(before).scatter(-1, kept, values) @ parts[2] + parts[3]


def _print(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
