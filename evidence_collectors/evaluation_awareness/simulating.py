"""What do the simulations of these instruments share? Draws fixed by what they are for, items in two formats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from scipy.special import ndtr, ndtri

from dossier.model import Completion, Item, Trial
from evidence_collectors.evaluation_awareness.asking import CONTEXTS, Asked
from evidence_collectors.items.contrast import Label

CELLS = ("benchmark", "chat")
LABELS: tuple[Label, ...] = tuple(CONTEXTS)


def whole_number(what: str) -> int:
    """Return a number below 2^64 fixed by words."""
    return int.from_bytes(hashlib.sha256(f"planted\0{what}".encode()).digest()[:8], "big")


def uniform(what: str) -> float:
    """Return a draw between 0 and 1 fixed by words."""
    return (whole_number(what) % 2**52 + 0.5) / 2**52


def normal(what: str) -> float:
    """Return a draw from the standard normal distribution fixed by words."""
    return float(ndtri(uniform(what)))


def own_rate(rate: float, spread: float, what: str) -> float:
    """Return the rate of one scenario, fixed by words; over scenarios its mean is ``rate``.

    ``spread`` is the standard deviation of scenarios on the normal scale.
    """
    return float(ndtr(float(ndtri(rate)) * math.sqrt(1.0 + spread**2) + spread * normal(what)))


def item(pair: str, label: Label, cell: str, *, content: str, family: str, split: str = "test") -> Item:
    """Return a contrast item of a scenario."""
    return {
        "id": f"{pair}-{label}-{cell}",
        "messages": [{"role": "user", "content": content}],
        "label": label,
        "family": family,
        "split": split,
        "licence": "Apache-2.0",
        "response": "",
        "pair": pair,
        "set": cell,
    }


def items(scenarios: int, *, matched: bool = True, cells: Sequence[str] = CELLS) -> tuple[Item, ...]:
    """Return the items of so many scenarios; unmatched: evaluation in the first format, deployment in the others."""
    return tuple(
        item(f"s{number:04d}", label, cell, content=f"{label} {cell} {number}", family=f"family-{number % 10}")
        for number in range(scenarios)
        for label in LABELS
        for cell in cells
        if matched or (label == "positive") == (cell == cells[0])
    )


def answered(one: Asked, said: Completion) -> Trial:
    """Return the trial of a question that was asked."""
    return Trial(key=one.key, seed=one.seed, request=one.request, completion=said, measurements=dict(one.noted))
