"""What did the model say? From what inspect_ai hands over to reasoning and answer, verbatim where that can be had.

inspect_ai cuts ``<think>`` blocks out of a text wherever they stand and strips what is left. Providers that answer in the
shape of the OpenAI API also hand over the raw message, so the text is split here by our own rule instead. Where the
reasoning came in a field of its own it is taken as it is; where it is encrypted, only the provider's summary can be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inspect_ai.model import ContentReasoning, ContentText, ModelOutput

from dossier.model import Parse
from evidence_collectors.models.reasoning import Split, split_reasoning

RAW = "dossier.raw_response"
IS_ERROR = "dossier.is_error"
_REASONING_FIELDS = ("reasoning_details", "reasoning_content", "reasoning")  # of an OpenAI-shaped message


class Unusable(Exception):  # noqa: N818 - it names what came back; nothing but `inspect_calls` sees it
    """Something came back that holds no answer."""


class Refused(Exception):  # noqa: N818
    """The provider, not the model, declined this request."""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Token counts are the provider's; ``generated_tokens`` None where it gives none.
    """

    split: Split
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int | None
    generated_tokens: int | None
    served_as: str


def read(output: ModelOutput, tags: tuple[str, str], *, already_open: bool, max_tokens: int) -> Reply:
    """Return what a provider's output says.

    Raises:
        Unusable: it holds no choice at all.
        Refused: the provider's filter or limit answered in place of the model.
    """
    meta = output.metadata or {}
    if output.empty:
        raise Unusable("the response holds no choice")
    if meta.get(IS_ERROR):
        raise Refused(f"{output.stop_reason}: {output.completion}")
    if output.stop_reason == "content_filter":
        raise Refused(f"the provider's content filter stopped the answer: {output.completion}")
    split = _split(output, meta.get(RAW), tags, already_open=already_open)
    usage = output.usage
    prompt = usage and usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    generated = usage.output_tokens if usage else None
    cut = output.stop_reason in ("max_tokens", "model_length")
    unsaid = output.stop_reason == "unknown" and generated is not None and generated >= max_tokens
    return Reply(split, "length" if cut or unsaid else "stop", prompt or None, generated, output.model)


def _split(output: ModelOutput, raw: object, tags: tuple[str, str], *, already_open: bool) -> Split:
    content = output.message.content
    message = _raw_message(raw)
    text = _raw_text(message)
    if text is None and isinstance(content, str):
        text = content
    if text is None:
        blocks = [part for part in content if isinstance(part, ContentReasoning)]
        text = "".join(part.text for part in content if isinstance(part, ContentText))
        if blocks:
            reasoning, parse = _details(message) or _blocks(blocks)
            return Split(reasoning, clean(text), parse)
    return split_reasoning(clean(text), tags, already_open=already_open)


def _blocks(blocks: list[ContentReasoning]) -> tuple[str | None, Parse]:
    """Return reasoning that came apart from the text. A redacted block holds ciphertext; only its summary is readable."""
    shown = [block.summary if block.redacted else block.reasoning for block in blocks]
    readable = [clean(text) for text in shown if text]
    if not readable:
        return None, "withheld"
    summarised = any(block.summary and (block.redacted or block.summary == block.reasoning) for block in blocks)
    return "\n\n".join(readable), "summary" if summarised else "ok"


def _details(message: Mapping[str, Any]) -> tuple[str, Parse] | None:
    """Return reasoning from OpenRouter's list of parts, of which inspect_ai keeps one and forgets whether it is a summary."""
    parts = message.get("reasoning_details")
    if not isinstance(parts, list):
        return None
    read = [(part.get("type"), part.get("text") or part.get("summary")) for part in parts if isinstance(part, Mapping)]
    readable = [(kind, clean(text)) for kind, text in read if isinstance(text, str) and text]
    if not readable:
        return None
    summarised = any(kind == "reasoning.summary" for kind, _ in readable)
    return "".join(text for _, text in readable), "summary" if summarised else "ok"


def _raw_message(raw: object) -> Mapping[str, Any]:
    """Return the message of an OpenAI-shaped response; empty where it is shaped otherwise."""
    try:
        message = min(raw["choices"], key=lambda one: one["index"])["message"]  # type: ignore[index]
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        return {}
    return message if isinstance(message, Mapping) else {}


def _raw_text(message: Mapping[str, Any]) -> str | None:
    """Return a raw message's content verbatim; None where there is none, or reasoning came apart from it."""
    if any(message.get(name) for name in _REASONING_FIELDS) or message.get("refusal"):
        return None
    content = message.get("content")
    return content if isinstance(content, str) else None


def clean(text: str) -> str:
    """Return a text that JSON can hold: lone surrogates, which no Unicode text has, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
