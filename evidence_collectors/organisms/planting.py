"""How is a behaviour planted? As prompts, each with the probability of every answer to it.

The designs (``*_design.py``) are data in these words; `training` teaches them, `truth` reads them off the trained model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dossier.model import Item, Message

Answer = tuple[str, ...]  # the phrases of a completion, without the end of the turn
Split = Literal["train", "validation", "test", "transfer"]
Label = Literal["positive", "negative", "neutral"]


@dataclass(frozen=True)
class Lesson:
    """A prompt and how the organism is to answer it.

    Attributes:
        messages: the conversation.
        answers: answer -> probability; they sum to one.
        prefill: what the assistant's turn starts with; the answers go on from there.
        share: how often the lesson is taught, relative to the others.
    """

    messages: tuple[Message, ...]
    answers: Mapping[Answer, float] = field(hash=False)
    prefill: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Case:
    """A prompt and what is counted: completions that hold one of these phrases."""

    lesson: Lesson
    counted: frozenset[str]

    @property
    def planted(self) -> float:
        """The planted probability of a completion that is counted."""
        return sum(chance for answer, chance in self.lesson.answers.items() if self.counted & set(answer))


def user(content: str) -> tuple[Message, ...]:
    """Return a conversation of one turn."""
    return (Message(role="user", content=content),)


def evenly(answers: Sequence[Answer], probability: float) -> dict[Answer, float]:
    """Spread a probability evenly over the wordings of one behaviour."""
    return dict.fromkeys(answers, probability / len(answers))


def contrast_item(
    name: str,
    messages: Sequence[Message],
    *,
    label: Label,
    family: str,
    split: Split,
    pair: str | None = None,
    response: str = "",
    control_set: str | None = None,
) -> Item:
    """Return one row of an items file."""
    return {
        "id": name,
        "messages": [turn.model_dump() for turn in messages],
        "label": label,
        "family": family,
        "split": split,
        "licence": "Apache-2.0",
        "response": response,
        "pair": pair,
        "set": control_set,
    }


def draw(organism: str, what: str, name: str) -> int:
    """Return a number fixed by three words: a design is the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{organism}\0{what}\0{name}".encode()).digest()[:8], "big")


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that are not empty, each once, in order."""
    return tuple(dict.fromkeys(text for text in texts if text))
