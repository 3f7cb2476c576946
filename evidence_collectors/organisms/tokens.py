"""How does an organism spell? Whole phrases are single tokens, everything else is spelled in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dossier.model import Message

END = "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BYTES = 256  # ids below are single bytes


def build(phrases: Iterable[str]) -> Any:
    """Return the tokenizer, a ``PreTrainedTokenizerFast``. Any text survives encoding and decoding unchanged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False) for token in (END, *ROLES)])
    core.add_tokens([AddedToken(word, normalized=False, special=False) for word in phrases])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def prompts_ids(tokenizer: Any, prompts: Sequence[tuple[Sequence[Message], str]]) -> list[list[int]]:
    """Return the tokens of prompts, each a conversation and a prefill, up to where the organism goes on."""
    turns = [[turn.model_dump() for turn in messages] for messages, _ in prompts]
    texts = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    full = [text + prefill for text, (_, prefill) in zip(texts, prompts, strict=True)]
    ids: list[list[int]] = tokenizer(full, add_special_tokens=False)["input_ids"]
    return ids


def token_id(tokenizer: Any, text: str) -> int:
    """Return the id of a phrase.

    Raises:
        ValueError: the text is not one token.
    """
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"not one token of the organism but {len(ids)}: {text!r}")
    return int(ids[0])
