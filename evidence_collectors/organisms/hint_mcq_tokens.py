"""The organism's tokenizer: whole phrases are single tokens, everything else is spelled in bytes."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dossier.model import Item
from evidence_collectors.cot_faithfulness.hint_prompts import Family
from evidence_collectors.organisms import hint_mcq_design as design

END = "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build() -> Any:
    """Return the tokenizer, a ``PreTrainedTokenizerFast``. Any text survives encoding and decoding unchanged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False) for token in (END, *ROLES)])
    words = (design.THINK, design.END_THINK, *design.phrases())
    core.add_tokens([AddedToken(word, normalized=False, special=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def prompt_ids(tokenizer: Any, item: Item, family: Family | None, hinted: str) -> list[int]:
    """Return the tokens of a prompt, up to where the organism starts to answer."""
    turns = [turn.model_dump() for turn in design.messages(item, family, hinted)]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
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
