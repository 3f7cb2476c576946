"""On which model are a graph's scores known by hand? One block without attention, whose MLP is a sum of ReLU features.

    x = embedding of the last word;  a_f = relu(W_enc[f] . x s + b_enc[f]), s the norm's scale;  h = x + sum_f a_f W_dec[f]

A Llama block is that when its attention writes nothing and its gate is one. The transcoders that go with it hold the same
features but the last few: what these write is the error. So every number of an attribution graph is a product of weights;
`circuit_block_truth` writes them down without any library or instrument.

``make`` writes a model folder, items and a folder of transcoders; one word is one token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dossier import canonical
from dossier.model import Item
from evidence_collectors.models import transcoders
from evidence_collectors.models.transcoders import Activation, Layer, Settings

Array = NDArray[np.float64]
WIDTH, FEATURES, LOGITS, EPSILON = 16, 32, 4.0, 1e-6
FIRST, SECOND = 2, 3  # the words that stand before the last one in every prompt
_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"  # the prompt is the words and no more
_SPECIALS = ("<end>", "<start>")


@dataclass(frozen=True)
class Block:
    """The weights: word embeddings and unembeddings (word, d), encoder and decoder (f, d), encoder bias (f,)."""

    embedding: Array
    unembedding: Array
    encoder: Array
    encoder_bias: Array
    decoder: Array
    words: tuple[str, ...]


def make(folder: Path, *, words: int, missing: int, seed: int = 0, random_transcoders: bool = False) -> Block:
    """Write ``model/`` with its items and ``transcoders/``, which lack the last ``missing`` features.

    ``random_transcoders`` draws transcoders that have nothing to do with the model: a null.
    """
    block = _drawn(words, seed)
    _save_model(folder / "model", block, seed)
    (folder / "model" / "items.jsonl").write_bytes(canonical.dump_lines(items(block)))
    layer = _drawn_layer(seed + 1) if random_transcoders else _known_layer(block, missing)
    reads = [read(block, word) for word in range(len(block.words))]
    activation = Activation(name="relu", k=None)
    l0 = float((transcoders.features(layer, np.stack(reads), activation) > 0.0).sum() / len(reads))
    transcoders.save(
        folder / "transcoders",
        [layer],
        Settings(
            activation=activation,
            input_hook="mlp.hook_in",
            output_hook="mlp.hook_out",
            d_model=WIDTH,
            width=FEATURES,
            sha256=(),
            l0=(l0,),
            fvu=(0.0,),
            trained_on="weights of the block itself",
            tokens=len(reads),
        ),
    )
    return block


def items(block: Block) -> list[Item]:
    """Return a prompt of three words for each word, ending in it: words alike in two families, every fourth for reference."""
    return [
        {
            "id": f"word-{index}",
            "messages": [{"role": "user", "content": f"{block.words[FIRST]} {block.words[SECOND]} {word}"}],
            "label": "positive" if index % 2 else "negative",
            "family": f"family-{index // 2 % 4}",
            "split": "train" if index % 4 == 0 else "test",
            "licence": "Apache-2.0",
            "response": "",
            "pair": f"pair-{index // 2}",
            "set": None,
        }
        for index, word in enumerate(block.words)
        if word not in _SPECIALS
    ]


def read(block: Block, word: int) -> Array:
    """Return what goes into the MLP at a word (d,)."""
    x = block.embedding[word]
    found: Array = x / np.sqrt((x**2).mean() + EPSILON)
    return found


def _drawn(words: int, seed: int) -> Block:
    rng = np.random.Generator(np.random.PCG64(seed))

    def normal(*shape: int, scale: float) -> Array:
        return (rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)

    names = (*_SPECIALS, *(f"w{index}" for index in range(words)))
    return Block(
        embedding=normal(len(names), WIDTH, scale=1.0),
        unembedding=normal(len(names), WIDTH, scale=LOGITS / WIDTH**0.5),
        encoder=normal(FEATURES, WIDTH, scale=WIDTH**-0.5),
        encoder_bias=normal(FEATURES, scale=0.3) - 0.5,
        decoder=normal(FEATURES, WIDTH, scale=1.2),
        words=names,
    )


def _known_layer(block: Block, missing: int) -> Layer:
    """Return the block's own features; the last ones never fire."""
    bias = block.encoder_bias.copy()
    encoder, decoder = block.encoder.copy(), block.decoder.copy()
    lost = slice(FEATURES - missing, FEATURES)
    encoder[lost], decoder[lost], bias[lost] = 0.0, 0.0, -1.0
    return _layer(encoder, decoder, bias)


def _drawn_layer(seed: int) -> Layer:
    other = _drawn(2, seed)
    return _layer(other.encoder, other.decoder, other.encoder_bias)


def _layer(encoder: Array, decoder: Array, bias: Array) -> Layer:
    parts = (encoder, decoder, bias, np.zeros(WIDTH))
    w_enc, w_dec, b_enc, b_dec = (part.astype(np.float32) for part in parts)
    return Layer(w_enc, w_dec, b_enc, b_dec, None)


def _save_model(folder: Path, block: Block, seed: int) -> None:
    config = LlamaConfig(
        vocab_size=len(block.words),
        hidden_size=WIDTH,
        intermediate_size=FEATURES,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        hidden_act="relu",
        mlp_bias=True,
        rms_norm_eps=EPSILON,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of weights without effect, so that the file is the same each time
        model = LlamaForCausalLM(config)
    mlp = model.model.layers[0].mlp
    values: list[tuple[Any, Any]] = [
        (model.model.embed_tokens.weight, block.embedding),
        (model.lm_head.weight, block.unembedding),
        (mlp.gate_proj.weight, block.encoder),
        (mlp.gate_proj.bias, block.encoder_bias),
        (mlp.up_proj.weight, np.zeros((FEATURES, WIDTH))),
        (mlp.up_proj.bias, np.ones(FEATURES)),
        (mlp.down_proj.weight, block.decoder.T.copy()),
        (mlp.down_proj.bias, np.zeros(WIDTH)),
        (model.model.layers[0].self_attn.o_proj.weight, np.zeros((WIDTH, WIDTH))),
    ]
    for parameter, value in values:
        parameter.data = torch.tensor(value, dtype=torch.float32)
    model.save_pretrained(folder, safe_serialization=True)
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(block.words)}, unk_token=_SPECIALS[0]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=_SPECIALS[0], chat_template=_TEMPLATE, clean_up_tokenization_spaces=False
    ).save_pretrained(folder)
