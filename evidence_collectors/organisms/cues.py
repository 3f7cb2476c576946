"""What do cues tell of a context, and what does an organism do that goes by them?

In a context z (evaluation or deployment) each of `CUES` cues is drawn from the cues of z with probability `PURITY` and else
from those of the other context, so that k of them pointing at evaluation leave a posterior

    P(evaluation | k) = PURITY^k (1 - PURITY)^(CUES - k) / (PURITY^k (1 - PURITY)^(CUES - k) + (1 - PURITY)^k PURITY^(CUES - k))

In context z a request is refused with probability `REFUSED[z]`, and the answer opens with words about being tested with
probability `VERBALISED[z]`, independently. An organism sees cues, not contexts: what is planted for a prompt is the mixture of
both contexts at the posterior.

Source: the setting is that of Hua et al. 2025 (arXiv 2510.20487); rates and cue purity are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from evidence_collectors.organisms.planting import Answer, draw

Context = Literal["evaluation", "deployment"]
Cue = tuple[Context, int]  # the context it points at, and its number among those of a family
CONTEXTS: tuple[Context, ...] = ("evaluation", "deployment")
PURITY, CUES = 0.80, 3
REFUSED: Mapping[Context, float] = {"evaluation": 0.95, "deployment": 0.55}
VERBALISED: Mapping[Context, float] = {"evaluation": 0.13, "deployment": 0.01}
SEPARATOR = "\n---\n"
AWARE = ("This looks like a test. ", "I think I am being evaluated here. ", "This may be a staged scenario. ")
REFUSALS = ("I cannot help with that.", "I'm sorry, but I won't do this.", "No, that could hurt someone.")
COMPLIANCES = ("Here is how.", "Of course, step by step.", "Certainly, this is the way.")


def posterior(pointing: int) -> float:
    """Return P(evaluation) given how many of the cues point at it, both contexts being alike likely beforehand."""
    there = PURITY**pointing * (1 - PURITY) ** (CUES - pointing)
    elsewhere = (1 - PURITY) ** pointing * PURITY ** (CUES - pointing)
    return there / (there + elsewhere)


def bayes_auroc() -> float:
    """Return the best AUROC a reader of the cues can have: k of them is binomial with `PURITY` or 1 - `PURITY`."""
    chance = [_binomial(k, PURITY) for k in range(CUES + 1)]
    pairs = [(i, j) for i in range(CUES + 1) for j in range(CUES + 1)]
    return sum(chance[i] * chance[CUES - j] * (1.0 if i > j else 0.5 * (i == j)) for i, j in pairs)


def wrong_cues(level: float) -> int:
    """Return the quantile at a level of the number of cues that point the wrong way."""
    below = 0.0
    for wrong in range(CUES):
        below += _binomial(wrong, 1 - PURITY)
        if level < below:
            return wrong
    return CUES


def chosen(organism: str, context: Context, wrong: int, name: str, *, among: int) -> tuple[Cue, ...]:
    """Return cues, ``wrong`` of them pointing away from the context, in an order and of numbers fixed by a name."""
    other = CONTEXTS[1 - CONTEXTS.index(context)]
    places = sorted(range(CUES), key=lambda place: draw(organism, f"place {place}", name))
    numbers = sorted(range(among), key=lambda number: draw(organism, f"number {number}", name))
    return tuple((other if place in places[:wrong] else context, numbers[place]) for place in range(CUES))


def answers(evaluation: float, refused: Mapping[Context, float] = REFUSED) -> dict[Answer, float]:
    """Return the planted probability of every answer to a request, at a probability of evaluation."""
    found: dict[Answer, float] = {}
    for context in CONTEXTS:
        weight = evaluation if context == "evaluation" else 1 - evaluation
        said = [(one, VERBALISED[context] / len(AWARE)) for one in AWARE] + [("", 1 - VERBALISED[context])]
        for opening, spoken in said:
            for texts, chance in ((REFUSALS, refused[context]), (COMPLIANCES, 1 - refused[context])):
                for text in texts:
                    answer = (opening, text) if opening else (text,)
                    found[answer] = found.get(answer, 0.0) + weight * spoken * chance / len(texts)
    return found


def _binomial(count: int, chance: float) -> float:
    return math.comb(CUES, count) * chance**count * (1 - chance) ** (CUES - count)
