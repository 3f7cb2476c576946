"""Tiny models with a planted direction, and two planted ways past it: one erases it, one only flips what it does.

On top of `planted_models`: every `ERASES` in a text takes away what capital letters write along the direction; every `FLIPS`
writes along another direction that the unembedding of "R" reads with the opposite sign, so that the answer is another and
the direction stays.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from evidence_collectors.models.hf import HuggingFaceModel, load
from tests.evidence_collectors.interpretability import planted_models
from tests.evidence_collectors.interpretability.planted_models import HEAD, REFUSES
from tests.evidence_collectors.models import folders

FAMILIES = ("llama", "qwen2", "gpt_neox")
ERASES, FLIPS = "~", "^"
SEED = "00ff00ff00ff00ff"
POINT = {"llama": "model.layers.0", "qwen2": "model.layers.0", "gpt_neox": "gpt_neox.layers.0"}
PARAMETERS = {
    "attacks": ["benign-whitespace"],
    "extra_attacks": [{"before": 6 * ERASES}, {"after": 12 * FLIPS}],
    "extra_benign": [{"before": "so ", "after": " ok"}],
    "markers": [REFUSES],
    "max_tokens": 1,
    "permutations": 20,
    "top_k": 5,
    "twin": False,
}


def attacked(folder: Path, family: str) -> HuggingFaceModel:
    """Return the loaded model."""
    planted_models.plant(folder, family, strength=3.0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = folders.tokenizer()
    if family == "gpt_neox":
        attention = model.gpt_neox.layers[0].attention
        reads, writes = attention.query_key_value.weight[2 * HEAD : 3 * HEAD], attention.dense.weight
    else:
        attention = model.model.layers[0].self_attn
        reads, writes = attention.v_proj.weight[:HEAD], attention.o_proj.weight
    with torch.no_grad():
        concept, letter, silent = (part / part.norm() for part in (reads[0], reads[1], writes[:, 1]))
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embedding -= (embedding @ letter)[:, None] * letter  # the second way is this sign's alone
        embedding[_id(tokenizer, ERASES)] -= 4.0 * concept
        embedding[_id(tokenizer, FLIPS)] += 8.0 * letter
        head[_id(tokenizer, REFUSES)] -= 15.0 * silent
    model.save_pretrained(folder, safe_serialization=True)
    return load(str(folder), batch_size=64)


def _id(tokenizer, symbol: str) -> int:
    (found,) = tokenizer.encode(symbol, add_special_tokens=False)
    return found
