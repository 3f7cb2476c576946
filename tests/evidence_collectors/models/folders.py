"""Small random models as Hugging Face folders, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

WORDS = ("alpha", "beta", "gamma", "delta", "a longer phrase", "numbers 1 2 3", "ünïcödé", "\n\nlines", "end.")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|im_end|>", "<|im_start|>", "<think>", "</think>")  # the first one ends a turn

_EXPERTS = {"num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 2}
FURTHER: dict[str, dict[str, Any]] = {  # what differs: names of parts, windows, experts, joined or sequential blocks
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    "gpt_oss": {**_EXPERTS, "num_local_experts": 4, "sliding_window": 16, "rope_scaling": None},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 16},
    "mixtral": {"num_key_value_heads": 2, "num_experts_per_tok": 2, "num_local_experts": 4},
    "olmo2": {"num_key_value_heads": 2},
    "phi3": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "qwen3_moe": {**_EXPERTS, "num_experts": 4, "moe_intermediate_size": 32},
}


def tokenizer(template: str | None = CHATML) -> Any:
    """Return a byte-level tokenizer with ChatML's control tokens and special reasoning tags."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=SPECIALS[0], chat_template=template, clean_up_tokenization_spaces=False
    )


def config(family: str, *, vocabulary: int = 260, width: int = 32, layers: int = 2) -> PretrainedConfig:
    """Return a tiny configuration of one of four architectures, or of `FURTHER`."""
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "eos_token_id": 256,
        "bos_token_id": None,
        "pad_token_id": None,
        "initializer_range": 1.7 / width**0.5,  # large: the distributions are far from uniform and rounding shows
    }
    if family == "gpt_neox":
        return GPTNeoXConfig(**shape)
    if family == "gemma2":
        return Gemma2Config(**shape, num_key_value_heads=2, head_dim=width // 4, sliding_window=16)
    if family in FURTHER:
        shape["initializer_range"] = 0.3
        return CONFIG_MAPPING[family](**shape, **FURTHER[family])
    return {"llama": LlamaConfig, "qwen2": Qwen2Config}[family](**shape, num_key_value_heads=2)


def save(folder: Path, family: str = "llama", *, template: str | None = CHATML, seed: int = 0, **shape: int) -> Path:
    """Write a random model and return its folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config(family, **shape))
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer(template).save_pretrained(folder)
    return folder
