"""Tiny models with a direction written into their weights by hand, and the texts that show it.

Capital letters make block 0 write along `Planted.direction` at every later token; the unembedding of "R" reads that
direction, so that such a text is answered with "R". Small letters write along other directions, which nothing reads: they
are what a direction has to be told apart from. Everything else in block 0 is silent; later blocks are random and quiet.

Which capitals and which other signs a text has depends on its split, so that a model with random weights, which tells
known signs apart, cannot tell the classes apart by signs it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from dossier.model import Item
from tests.evidence_collectors.models import folders

WIDTH, HEAD = 64, 16
NOISE = HEAD - 1
REFUSES = "R"
SIGNS = "ABCDEFGHIJKLMNOPQSTUVWXYZ"
PLAIN = "0123456789!$%&()*+,-./:;="
PART_OF_SPLIT = {"train": slice(0, 8), "validation": slice(8, 13), "test": slice(13, 19), "transfer": slice(19, 25)}
LETTERS = "bcdfghjklmopqvwxyz"  # none that the chat template has


@dataclass(frozen=True)
class Planted:
    folder: Path
    direction: np.ndarray


def plant(folder: Path, family: str, *, noise: float = 2.5, layers: int = 3, strength: float = 1.0) -> Planted:
    """Write a model of a family with the direction in it. ``noise`` 0: nothing else varies between texts."""
    config = folders.config(family, width=WIDTH, layers=layers)
    config.tie_word_embeddings = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config)
        basis = torch.linalg.qr(torch.cat([torch.ones(WIDTH, 1), torch.randn(WIDTH, 2 * HEAD + 1)], dim=1)).Q.T[
            1:
        ]  # orthogonal to ones, which LayerNorm would take out
        signs = torch.randn(len(LETTERS), NOISE).sign()
    tokenizer = folders.tokenizer()
    concept, letters = basis[0], basis[1 : 1 + NOISE]
    direction, silent = basis[HEAD], basis[HEAD + 1 : HEAD + 1 + NOISE]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.2)
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        for weight in (embedding, head):
            weight.copy_(weight * 5 - weight @ basis.T @ basis * 5)  # nothing else reads or writes what is planted
        for sign in SIGNS:
            embedding[_id(tokenizer, sign)] += 2.0 * concept
        for letter, row in zip(LETTERS, signs, strict=True):
            embedding[_id(tokenizer, letter)] += 0.5 * row @ letters
        head[_id(tokenizer, REFUSES)] = 5.0 * strength * direction
        reads = torch.cat([concept[None], noise * letters])
        writes = 4.0 * torch.cat([direction[None], silent])
        _attention(model, family, reads, writes)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return Planted(folder, direction.double().numpy())


def items(
    *, train: int = 24, validation: int = 20, test: int = 22, transfer: int = 20, neutral: int = 24
) -> list[Item]:
    """Return contrast items, as many of each class: pairs that differ in their last four signs."""
    rows: list[Item] = []
    words = np.random.default_rng(0)
    for split, count in (("train", train), ("validation", validation), ("test", test), ("transfer", transfer)):
        for number in range(count):
            family = "gamma" if split == "transfer" else ("alpha", "beta")[number % 2]
            spelled = "".join(words.choice(list(LETTERS), 12))
            for label, known in (("positive", SIGNS), ("negative", PLAIN)):
                text = spelled + "".join(words.choice(list(known[PART_OF_SPLIT[split]]), 4))
                rows.append(item(f"{split}-{number:03d}-{label}", text, label=label, family=family, split=split))
    for number in range(neutral):
        split = ("train", "test")[number % 2]
        spelled = "".join(words.choice(list(LETTERS), 12))
        rows.append(
            item(f"neutral-{number:03d}", spelled, label="neutral", family="other", split=split, response=spelled[:4])
        )
    return rows


def item(name: str, text: str, *, label: str, family: str, split: str, response: str = "", control=None) -> Item:
    return {
        "id": name,
        "messages": [{"role": "user", "content": text}],
        "label": label,
        "family": family,
        "split": split,
        "licence": "CC0-1.0",
        "response": response,
        "pair": name.rpartition("-")[0] if label != "neutral" else None,
        "set": control,
    }


def _attention(model, family: str, reads: torch.Tensor, writes: torch.Tensor) -> None:
    """Let head 0 of block 0 carry ``reads`` (k, d), averaged over the tokens before, to ``writes`` (k, d)."""
    if family == "gpt_neox":
        block = model.gpt_neox.layers[0]
        block.attention.query_key_value.weight.zero_()
        block.attention.query_key_value.weight[2 * HEAD : 3 * HEAD] = reads
        block.attention.dense.weight.zero_()
        block.attention.dense.weight[:, :HEAD] = 8.0 * writes.T
        block.mlp.dense_4h_to_h.weight.zero_()
        return
    block = model.model.layers[0]
    for part in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj, block.self_attn.o_proj):
        part.weight.zero_()
    block.self_attn.v_proj.weight[:HEAD] = reads
    block.self_attn.o_proj.weight[:, :HEAD] = 8.0 * writes.T
    block.mlp.down_proj.weight.zero_()
    if family == "gemma2":
        for other in model.model.layers[1:]:
            other.post_attention_layernorm.weight.fill_(-0.9)
            other.post_feedforward_layernorm.weight.fill_(-0.9)


def _id(tokenizer, symbol: str) -> int:
    (found,) = tokenizer.encode(symbol, add_special_tokens=False)
    return found


def dictionary(folder: Path, model) -> Path:
    """Write a dictionary with random features for the output of block 0, as SAELens saves one."""
    import json

    from safetensors.torch import save_file

    width, features = model.layout.d_model, 6
    generator = torch.Generator().manual_seed(4)
    folder.mkdir()
    save_file(
        {
            "W_enc": torch.randn(width, features, generator=generator),
            "b_enc": torch.zeros(features),
            "W_dec": torch.randn(features, width, generator=generator),
            "b_dec": torch.zeros(width),
        },
        folder / "sae_weights.safetensors",
    )
    (folder / "cfg.json").write_text(
        json.dumps(
            {
                "architecture": "standard",
                "d_in": width,
                "d_sae": features,
                "dtype": "float32",
                "device": "cpu",
                "apply_b_dec_to_input": False,
                "normalize_activations": "none",
                "reshape_activations": "none",
                "metadata": {"hook_name": "blocks.0.hook_resid_post"},
            }
        )
    )
    return folder
