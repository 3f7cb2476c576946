"""A model and a dictionary written by hand, so that which feature is the concept's is known without any training.

The residual stream has 32 coordinates. An exclamation mark writes into coordinate 0, attention is uniform and carries the
first 16 coordinates of all tokens to every later one, and one token of the vocabulary is read off coordinate 0: the behaviour.
The dictionary has a feature for each sign of each coordinate, and rebuilds every activation exactly. Feature 0 is the concept.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from tests.evidence_collectors.models.folders import config, tokenizer

WIDTH, FEATURES, MARK, BEHAVIOUR = 32, 64, "!", "R"
POINT = "model.layers.0"
WORDS = ("stone", "river", "lamp", "field", "cloud", "paper", "glass", "bread", "wheel", "torch", "bench", "salt")


def model(folder: Path, *, strength: float = 6.0, seed: int = 0, trained: bool = True) -> Path:
    """Write the model; ``trained`` False leaves its weights as the initialiser drew them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = AutoModelForCausalLM.from_config(config("llama"))
    if trained:
        ids = tokenizer()
        mark, behaviour = (ids.encode(text, add_special_tokens=False)[0] for text in (MARK, BEHAVIOUR))
        with torch.no_grad():
            _plant(made, mark, behaviour, strength)
    made.save_pretrained(folder, safe_serialization=True)
    tokenizer().save_pretrained(folder)
    return folder


def dictionary(folder: Path, *, point: str | None = POINT, **config_: str) -> Path:
    """Write the dictionary as a Gemma Scope folder, which needs no sae-lens: a threshold of 0 makes jumprelu a relu."""
    folder.mkdir(parents=True, exist_ok=True)
    both = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)])
    weights = {
        "w_enc": both.T,
        "w_dec": both,
        "b_enc": torch.zeros(FEATURES),
        "b_dec": torch.zeros(WIDTH),
        "threshold": torch.zeros(FEATURES),
    }
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "params.safetensors")
    stated = {"hf_hook_point_in": f"{point}.output"} if point else {}
    (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu", **stated, **config_}))
    return folder


def items(per_class: int = 24, *, neutral: int = 6, splits=("train", "validation", "test", "transfer")):
    """Return contrast items: pairs of the same words, with exclamation marks or with commas."""
    rows = []
    for place, split in enumerate(splits):
        count = per_class if split != "validation" else 4
        for number in range(count):
            words = [WORDS[(number * 5 + step * (place + 2)) % len(WORDS)] for step in range(3)]
            for label, sign in (("positive", MARK), ("negative", ",")):
                text = f"{words[0]}{sign} {words[1]}{sign} {words[2]}{sign * (1 + number % 2)}"
                rows.append(_item(f"{split}-{number}-{label}", text, label, split, pair=f"{split}-{number}"))
    for number in range(neutral):
        text, reply = f"about {WORDS[number]}", f"{WORDS[-number]} and {WORDS[number]}"
        rows.append(_item(f"neutral-{number}", text, "neutral", "test", response=reply, control="ordinary"))
    return rows


def _item(name, text, label, split, *, pair=None, response="", control=None):
    return {
        "id": name,
        "messages": [{"role": "user", "content": text}],
        "label": label,
        "family": "far" if split == "transfer" else "near" if label != "neutral" else "ordinary",
        "split": split,
        "licence": "Apache-2.0",
        "response": response,
        "pair": pair,
        "set": control,
    }


def _plant(made, mark: int, behaviour: int, strength: float) -> None:
    embedding = made.get_input_embeddings().weight
    embedding *= 0.3
    embedding[:, 0] = 0.0
    embedding[mark, 0] = strength
    for number, block in enumerate(made.model.layers):
        for part in (block.self_attn.q_proj, block.self_attn.k_proj, block.mlp.down_proj):
            part.weight.zero_()
        block.self_attn.o_proj.weight.zero_()
        if number:
            continue
        block.self_attn.v_proj.weight.zero_()
        block.self_attn.v_proj.weight[:16, :16] = torch.eye(16)
        for head, start in ((0, 0), (2, 8)):  # two query heads share each of the two value heads
            block.self_attn.o_proj.weight[start : start + 8, head * 8 : head * 8 + 8] = torch.eye(8)
    head = made.get_output_embeddings().weight
    head *= 0.1
    head[:, 0] = 0.0
    head[behaviour] = 0.0
    head[behaviour, 0] = 4.0
