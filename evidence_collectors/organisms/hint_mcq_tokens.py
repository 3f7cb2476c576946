"""The tokenizer of the organism ``hint-mcq``: its phrases and those of the prompts are single tokens."""

from __future__ import annotations

from typing import Any

from dossier.model import Item
from evidence_collectors.cot_faithfulness.hint.prompts import Family
from evidence_collectors.organisms import hint_mcq_design as design
from evidence_collectors.organisms import tokens
from evidence_collectors.organisms.tokens import END, token_id

__all__ = ["END", "build", "prompt_ids", "token_id"]


def build() -> Any:
    """Return the tokenizer, a ``PreTrainedTokenizerFast``. Any text survives encoding and decoding unchanged."""
    return tokens.build((design.THINK, design.END_THINK, *design.phrases()))


def prompt_ids(tokenizer: Any, item: Item, family: Family | None, hinted: str) -> list[int]:
    """Return the tokens of a prompt, up to where the organism starts to answer."""
    return tokens.prompts_ids(tokenizer, [(design.messages(item, family, hinted), "")])[0]
