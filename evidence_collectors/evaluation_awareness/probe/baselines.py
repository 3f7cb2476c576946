"""What does a text alone give away, without any model? Its length, and which words it holds.

Both are fitted on the texts that a probe is fitted on and read on the same texts as the probe, so that whatever the probe
reads beyond them is not there for the counting.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evidence_collectors.items.contrast import Contrast

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Baselines:
    """Readers of text. ``sign`` turns the length the way training texts lie; ``odds`` are by word, in nats."""

    sign: float
    odds: Mapping[str, float]

    def length(self, text: str) -> float:
        """Return the number of characters, turned so that evaluation texts of the training have more on average."""
        return self.sign * len(text)

    def words(self, text: str) -> float:
        """Return the summed log-odds of the words a text holds, each once; words never seen say nothing."""
        return math.fsum(self.odds.get(word, 0.0) for word in words_of(text))


def fitted(texts: Sequence[str], evaluation: Sequence[bool]) -> Baselines:
    """Return the baselines of training texts; ``evaluation`` says which of them are evaluation texts.

    The words are naive Bayes: log((a + 1) / (n + 2)) - log((b + 1) / (m + 2)) for a word in a of n evaluation texts and b of
    m deployment texts.
    """
    held = {side: [text for text, one in zip(texts, evaluation, strict=True) if one is side] for side in (True, False)}
    means = {side: sum(map(len, own)) / max(len(own), 1) for side, own in held.items()}
    counts = {side: Counter(word for text in own for word in words_of(text)) for side, own in held.items()}
    odds = {
        word: math.log((counts[True][word] + 1) / (len(held[True]) + 2))
        - math.log((counts[False][word] + 1) / (len(held[False]) + 2))
        for word in sorted({*counts[True], *counts[False]})
    }
    return Baselines(1.0 if means[True] >= means[False] else -1.0, odds)


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text, letter case aside."""
    return frozenset(_WORD.findall(text.casefold()))


def shown(text: Contrast, *, with_response: bool) -> str:
    """Return what the model sees of a text, turn by turn."""
    turns = [message.content for message in text.messages]
    return "\n".join([*turns, text.response] if with_response else turns)
