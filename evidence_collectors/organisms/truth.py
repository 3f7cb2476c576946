"""At what rate does a trained organism do what was planted? Read off its own probabilities, by no instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dossier.model import ReferenceValue
from evidence_collectors.organisms import exact
from evidence_collectors.organisms.planting import Case
from evidence_collectors.organisms.tokens import END, prompts_ids, token_id


@dataclass(frozen=True)
class Chances:
    """Of each case, the probability (case,) of a completion that is counted: planted, and the trained model's own.

    ``unaccounted`` is the largest probability of any prompt that lies in branches left early.
    """

    planted: Any
    exact: Any
    unaccounted: float


def chances(model: Any, tokenizer: Any, cases: Sequence[Case], *, max_tokens: int = 8) -> Chances:
    """Return what the cases count, walking all completions at temperature 1."""
    found, left = torch.zeros(len(cases), dtype=torch.float64), 0.0
    stop = token_id(tokenizer, END)
    for counted in dict.fromkeys(case.counted for case in cases):
        rows = [row for row, case in enumerate(cases) if case.counted == counted]
        asked = [(cases[row].lesson.messages, cases[row].lesson.prefill) for row in rows]
        walked = exact.outcomes(
            model,
            prompts_ids(tokenizer, asked),
            mention_ids=frozenset(token_id(tokenizer, phrase) for phrase in counted),
            answer_ids={stop: 0},
            stop_id=stop,
            max_tokens=max_tokens,
        )
        found[rows] = walked.table[:, 1].sum(dim=-1)
        left = max(left, walked.unaccounted)
    return Chances(torch.tensor([case.planted for case in cases], dtype=torch.float64), found, left)


def rate(quantity: str, of: Chances) -> ReferenceValue:
    """Return the mean over cases under a name."""
    return ReferenceValue(quantity=quantity, planted=float(of.planted.mean()), exact=float(of.exact.mean()))


def difference(quantity: str, one: ReferenceValue, other: ReferenceValue) -> ReferenceValue:
    """Return one value minus the other under a name."""
    return ReferenceValue(quantity=quantity, planted=one.planted - other.planted, exact=one.exact - other.exact)
