"""What the tests of the shipped sets share: their rows, and baselines that see no more than the surface of a text."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dossier.model import Item
from evidence_collectors.items import contrast, loaders
from evidence_collectors.items.contrast import Contrast


def rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a shipped set."""
    return [json.loads(line) for line in loaders.shipped(name).splitlines()]


def texts(name: str) -> tuple[Contrast, ...]:
    """Return a shipped contrast set, parsed."""
    items: list[Item] = rows(name)
    return contrast.parse(items)


def words(text: Contrast) -> str:
    """Return all that a text says."""
    return "\n\n".join(turn.content for turn in text.messages)


def separation(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the AUROC with which a number such as the length tells two groups apart; ties count half."""
    pairs = [(one > other) + 0.5 * (one == other) for one in positive for other in negative]
    return sum(pairs) / len(pairs)


def spoken(text: str) -> set[str]:
    """Return the words of a text."""
    return set(re.findall(r"[a-z']+", text.lower()))


def separation_by_words(fitted: list[tuple[str, bool]], judged: list[tuple[str, bool]]) -> float:
    """Return the AUROC on ``judged`` of which words a text holds: naive Bayes, each word's log odds from ``fitted``."""
    counts = {
        side: Counter(w for text, label in fitted if label is side for w in spoken(text)) for side in (True, False)
    }
    totals = {side: sum(label is side for _, label in fitted) for side in (True, False)}
    odds = {
        word: math.log((counts[True][word] + 1) / (totals[True] + 2))
        - math.log((counts[False][word] + 1) / (totals[False] + 2))
        for word in {*counts[True], *counts[False]}
    }
    scores = {
        side: [sum(odds.get(word, 0.0) for word in spoken(text)) for text, label in judged if label is side]
        for side in (True, False)
    }
    return separation(scores[True], scores[False])
