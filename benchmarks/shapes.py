"""Which models, dictionaries and texts is speed measured on, and how many operations do they take? Nothing is downloaded.

Weights are random: speed does not depend on their values, but for how many features of a dictionary are active, which is set
by a threshold. Operations for a token (interp.md, section 5.1): 2 N_block x depth + 2 d F for each dictionary, with N_block
the parameters of the blocks up to the point; attention's quadratic term is left out, as is the unembedding, which is not
computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from evidence_collectors.models.dictionaries import Dictionary

ACTIVE = 80  # features active on a token, about


@dataclass(frozen=True)
class Shape:
    """A decoder. ``at`` is the block whose output is read, counted from 0."""

    name: str
    family: Literal["llama", "gemma3"]
    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int
    at: int

    @property
    def block_parameters(self) -> int:
        """Parameters of one block that a token is multiplied with."""
        attention = self.width * self.head * (2 * self.heads + 2 * self.key_heads)
        return attention + 3 * self.width * self.inner

    def operations(self, dictionary_width: int, *, dictionaries: int = 1) -> float:
        """Return the operations for one token, up to the point and through the dictionaries' encoders."""
        return 2.0 * self.block_parameters * (self.at + 1) + 2.0 * self.width * dictionary_width * dictionaries


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("llama-tiny", "llama", 6, 128, 352, 4, 4, 32, 1024, 3),
        Shape("llama-small", "llama", 8, 512, 1408, 8, 4, 64, 8192, 4),
        Shape("gemma3-small", "gemma3", 8, 512, 1408, 8, 4, 64, 8192, 4),
        Shape("llama-125m", "llama", 12, 768, 2048, 12, 4, 64, 32000, 7),
        Shape("llama-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 9),
        Shape("gemma3-1b", "gemma3", 26, 1152, 6912, 4, 1, 256, 262144, 16),
        Shape("gemma3-4b", "gemma3", 34, 2560, 10240, 8, 4, 256, 262208, 21),
        Shape("llama-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 20),
        Shape("llama-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 51),
    )
}


def build(shape: Shape, *, device: str, dtype: torch.dtype) -> Any:
    """Return a Hugging Face model of a shape with random weights, made on the device."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "head_dim": shape.head,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            if shape.family == "llama":
                model = LlamaForCausalLM(LlamaConfig(**settings))
            else:
                model = Gemma3ForCausalLM(Gemma3TextConfig(**settings, query_pre_attn_scalar=shape.head))
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


def dictionary(shape: Shape, width: int, *, sample: Any, seed: int = 1) -> Dictionary:
    """Return a random jumprelu dictionary; about `ACTIVE` features hold on ``sample`` (n, d)."""
    generator = torch.Generator(device=sample.device).manual_seed(seed)

    def drawn(*size: int) -> Any:
        weight = torch.randn(size, generator=generator, device=sample.device, dtype=torch.float32)
        return (weight / shape.width**0.5).to(sample.dtype)

    encoder = drawn(shape.width, width)
    before = (sample @ encoder).float()
    keep = max(1, round(width * (1.0 - min(ACTIVE, width // 8) / width)))
    zeros = torch.zeros(width, device=sample.device, dtype=sample.dtype)
    return Dictionary(
        name="random",
        architecture="jumprelu",
        w_enc=encoder,
        b_enc=zeros,
        w_dec=drawn(width, shape.width),
        b_dec=torch.zeros(shape.width, device=sample.device, dtype=sample.dtype),
        threshold=torch.full_like(zeros, float(before.kthvalue(keep, dim=1).values.mean())),
        bias_from_input=True,
    )


def texts(shape: Shape, length: str, *, tokens: int) -> list[list[int]]:
    """Return token rows, about ``tokens`` together: all of one length, or ``mixed``, drawn log-normally."""
    generator = torch.Generator().manual_seed(2)
    lengths: list[int] = []
    while sum(lengths) < tokens:
        if length == "mixed":
            drawn = float(torch.exp(4.6 + 0.8 * torch.randn((), generator=generator)))
            lengths.append(int(min(max(drawn, 8), 1024)))
        else:
            lengths.append(int(length))
    return [torch.randint(1, shape.vocabulary, (count,), generator=generator).tolist() for count in lengths]
