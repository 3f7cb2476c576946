"""Where does the reasoning end and the answer begin? Text in, text out; nothing is stripped or repaired.

A chat template may open the reasoning itself, so that the model only ever writes the closing tag: then the opening
stands in the prompt, not in the completion.
"""

from __future__ import annotations

from dataclasses import dataclass

from dossier.model import Parse


@dataclass(frozen=True)
class Split:
    """A text, split. ``reasoning`` is None where no closed block was found; then ``answer`` is all of it."""

    reasoning: str | None
    answer: str
    parse: Parse


def opens_reasoning(opening: str, tags: tuple[str, str]) -> bool:
    """Return whether the text that opens the assistant's turn (template and prefill) leaves a reasoning block open."""
    open_tag, close_tag = tags
    return opening.rfind(open_tag) > opening.rfind(close_tag)


def split_reasoning(text: str, tags: tuple[str, str], *, already_open: bool) -> Split:
    """Return reasoning and answer: the text between the tags, and the text after the closing one, verbatim.

    The block must come first: only white space may stand before the opening tag. The first closing tag ends it.
    """
    open_tag, close_tag = tags
    head, opened, body = ("", open_tag, text) if already_open else text.partition(open_tag)
    reasoning, closed, answer = body.partition(close_tag)
    if head.strip() or not opened or not closed:
        return Split(None, text, "missing_reasoning_tag")
    return Split(reasoning, answer, "ok")
