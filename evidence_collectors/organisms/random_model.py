"""What does a model look like that was taught nothing? Random weights of a real size, with a dictionary and transcoders alike.

Nothing that an instrument finds in it is there. Weights are drawn by the model's own initialiser, those of the dictionary
and the transcoders here; no library that trains such things takes part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evidence_collectors.items.contrast import Contrast
from evidence_collectors.models import transcoders
from evidence_collectors.models.transcoders import Activation, Layer, Settings
from evidence_collectors.organisms import tokens
from evidence_collectors.organisms.train_dictionary import activations
from evidence_collectors.organisms.train_transcoders import HOOKS, captured, measured

ACTIVE = 8  # features of the dictionary that are active on an average token
LLAMA_125M = {
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": tokens.BYTES,
    "pad_token_id": tokens.BYTES,
}


def write_model(folder: Path, phrases: Sequence[str], *, settings: dict[str, Any] | None = None, seed: int = 0) -> None:
    """Write a Llama with random weights; the phrases are one token each, as the organisms have them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**(settings or LLAMA_125M)))
    model.save_pretrained(folder, safe_serialization=True)
    tokens.build(phrases).save_pretrained(folder)


def write_dictionary(
    folder: Path, model: Any, texts: Sequence[Contrast], *, point: str, width: int = 128, seed: int = 0
) -> None:
    """Write a dictionary of random directions in Gemma Scope's layout; about `ACTIVE` features hold on a token of the texts.

    The decoder is the encoder's transpose, and the one threshold is set on what the model does on the texts.
    """
    from safetensors.torch import save_file

    read = activations(model, [text.continuation() for text in texts], point)
    drawn = torch.tensor(_normal(seed, width, read.shape[1]), dtype=torch.float32)
    encoder = (drawn / drawn.norm(dim=1, keepdim=True)).T.contiguous()
    keep = max(1, round(width * (1.0 - ACTIVE / width)))
    threshold = float((read @ encoder).kthvalue(keep, dim=1).values.mean().clamp(min=0.0))
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "w_enc": encoder,
        "w_dec": encoder.T.contiguous(),
        "b_enc": torch.zeros(width),
        "b_dec": torch.zeros(read.shape[1]),
        "threshold": torch.full((width,), threshold),
    }
    save_file(weights, folder / "params.safetensors")
    stated = {
        "architecture": "jump_relu",
        "hf_hook_point_in": f"{point}.output",
        "model_name": model.subject.name,
        "subject_weights_sha256": model.subject.weights_sha256,
    }
    (folder / "config.json").write_text(json.dumps(stated, indent=2, sort_keys=True) + "\n", "utf-8")


def write_transcoders(
    folder: Path, model: Any, texts: Sequence[Contrast], *, width: int = 256, k: int = 16, seed: int = 0
) -> Settings:
    """Write TopK transcoders with random weights; what is written beside them was measured on the texts."""
    reads, writes = HOOKS[type(model.loaded.model).__name__]
    settings = Settings(
        activation=Activation(name="topk", k=k),
        input_hook=reads,
        output_hook=writes,
        d_model=model.layout.d_model,
        width=width,
        sha256=(),
        l0=(),
        fvu=(),
        trained_on="nothing: random weights",
        weights_sha256=model.subject.weights_sha256,
        tokens=0,
    )
    tokens_ = captured(model, texts, settings)
    layers = []
    for index, written in enumerate(tokens_.writes):
        d = model.layout.d_model
        encoder = _normal(2 * (seed * 1000 + index), width, d) / d**0.5
        decoder = _normal(2 * (seed * 1000 + index) + 1, width, d) * (written.std() / k**0.5)
        zeros = np.zeros(width, dtype=np.float32)
        bias = written.mean(axis=0).astype(np.float32)
        layers.append(Layer(encoder.astype(np.float32), decoder.astype(np.float32), zeros, bias, None))
    l0, fvu = measured(layers, tokens_, settings.activation)
    return transcoders.save(folder, layers, settings.model_copy(update={"l0": tuple(l0), "fvu": tuple(fvu)}))


def _normal(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
