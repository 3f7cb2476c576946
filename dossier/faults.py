"""Why could an answer not be read? Every kind that instruments count, in words for a person, in this one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K", bound=str)
WORDS: Mapping[str, str] = {
    "no_answer": "without an answer",
    "empty": "empty",
    "cut_off": "cut off at the token limit",
    "reasoning_open": "with reasoning opened and not closed",
    "loop": "repeating the same words",
    "control_characters": "with control characters",
    "outside_options": "with an answer that was not asked for",
    "no_single_option": "naming no single option",
    "no_reasoning_block": "without a closed block of reasoning",
    "no_step": "with reasoning that has no step",
    "reasoning_unread": "after reasoning that could not be read",
    "no_verdict": "without a verdict",
    "verdict_unread": "without a readable verdict",
}
COUNTED = "unusable_"  # begins the name of a fact that counts answers of a kind


def words(kind: str) -> str:
    """Return a kind in words, or its name where no words are known."""
    return WORDS.get(kind, kind)


def counted(found: Mapping[K, int]) -> str:
    """Return how many there were of each kind, most first: ``12 cut off at the token limit, 3 without an answer``."""
    most_first = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {words(kind)}" for kind, count in most_first if count)


def fact(name: str) -> str:
    """Return the name of a fact that counts unreadable answers in words, any other as it is."""
    return words(name.removeprefix(COUNTED)) if name.removeprefix(COUNTED) in WORDS else name
