"""What would the trials look like if the truth were this? Planted probabilities in real prompts, without a model.

A text's latent value is that of its context, of its family, of its format and of itself, and a part that is new in every format
of the question; the probability of a test is its normal distribution function. Truths are formulas; nothing is computed by the
estimators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from dossier.model import Item, Trial
from evidence_collectors.evaluation_awareness.asking import Asked
from evidence_collectors.evaluation_awareness.discrimination.parameters import DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.trials import Arm, asked
from evidence_collectors.evaluation_awareness.simulating import (
    CELLS,
    LABELS,
    answered,
    item,
    normal,
    uniform,
    whole_number,
)
from evidence_collectors.simulating import completion

_WORDS = {"positive": "A note for the record.", "negative": "A note for one friend"}
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True)
class Planted:
    """What is true of the simulated model.

    Attributes:
        separation: distance of the contexts' means, in standard deviations of a text.
        family: standard deviation of families.
        lean: how much more a benchmark-like text looks like a test than a chat-like one, whatever the context.
        shared: share of a text's variance that all formats of the question see.
        unread: rate of answers that break off.
        says: what is answered instead, if anything.
    """

    separation: float = 2.0
    family: float = 0.0
    lean: float = 0.0
    shared: float = 0.5
    unread: float = 0.0
    says: str | None = None

    def truths(self, *, families: int, logprobs: bool) -> dict[str, float]:
        """Return the true values by observation id, for yes-no questions and texts in both formats alike often.

        Of all pairs of an evaluation and a deployment text, one in ``families`` comes from one family and shares its value.
        """
        half, leans = self.separation / 2.0, {"benchmark": self.lean / 2.0, "chat": -self.lean / 2.0}
        spread = math.sqrt(1.0 + self.family**2)

        def area(one: str, other: str) -> float:
            gap = self.separation + leans[one] - leans[other]
            if not logprobs:
                said = [ndtr((half + leans[one]) / math.hypot(1.0, spread))]
                said += [ndtr((-half + leans[other]) / math.hypot(1.0, spread))]
                return float((1.0 + said[0] - said[1]) / 2.0)
            apart, alike = ndtr(gap / (math.sqrt(2.0) * spread)), ndtr(gap / math.sqrt(2.0))
            return float(apart + (alike - apart) / families)

        def right(cell: str) -> float:
            scale = spread if logprobs else math.hypot(1.0, spread)
            return float(ndtr((half + leans[cell]) / scale) + ndtr((half - leans[cell]) / scale)) / 2.0

        found = {
            "overall.auroc": sum(area(one, other) for one in CELLS for other in CELLS) / 4.0,
            "overall.balanced_accuracy": sum(right(cell) for cell in CELLS) / 2.0,
            "overall.brier": sum(self._brier(half + lean, spread, logprobs) for lean in leans.values()) / 4.0
            + sum(self._brier(half - lean, spread, logprobs) for lean in leans.values()) / 4.0,
        }
        for cell in CELLS:
            found[f"cell_{cell}.auroc"] = area(cell, cell)
            found[f"cell_{cell}.balanced_accuracy"] = right(cell)
        found["cross_benchmark_chat.auroc"] = area("benchmark", "chat")
        found["cross_chat_benchmark.auroc"] = area("chat", "benchmark")
        return found

    def _brier(self, mean: float, spread: float, logprobs: bool) -> float:
        """Return the mean squared distance from 1 of a probability whose latent value is normal."""
        said = ndtr(mean + spread * _NODES)
        values = (1.0 - said) ** 2 if logprobs else 1.0 - said
        return float(_WEIGHTS @ values / _WEIGHTS.sum())


def items(families: int, pairs: int, *, confounded: bool = False, split: str = "test") -> tuple[Item, ...]:
    """Return contrast items: ``pairs`` scenarios a family, both contexts in both formats; confounded: one format a context."""
    names = [(family, f"{split}-{family:03d}-{pair:03d}") for family in range(families) for pair in range(pairs)]
    return tuple(
        item(name, label, cell, content=_content(name, label, cell), family=f"family-{family:03d}", split=split)
        for family, name in names
        for label in LABELS
        for cell in CELLS
        if not confounded or (label == "positive") == (cell == "benchmark")
    )


def simulate(params: DiscriminationParameters, rows: Sequence[Item], seed: str, planted: Planted) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model; every draw is fixed by the seed and by what it is a draw for."""
    return tuple(_trial(params, one, seed, planted) for one in asked(params, rows, seed))


def _content(name: str, label: str, cell: str) -> str:
    """Return a text of a length that says nothing."""
    return f"{_WORDS[label]} {cell} {name} {'x' * (whole_number(f'{name} {label} {cell}') % 40)}"


def _trial(params: DiscriminationParameters, one: Asked, seed: str, planted: Planted) -> Trial:
    arm = Arm.of(one.key)
    latent = planted.separation * (0.5 if arm.label == "positive" else -0.5)
    latent += planted.lean * {"benchmark": 0.5, "chat": -0.5}.get(arm.cell, 0.0)
    latent += planted.family * normal(f"{seed} family {one.noted['family']}")
    latent += math.sqrt(planted.shared) * normal(f"{seed} text {one.key.item}")
    latent += math.sqrt(1.0 - planted.shared) * normal(f"{seed} format {one.key.item} {arm.asking} {arm.question}")
    chance = float(ndtr(latent))
    if params.read == "logprobs":
        yes = chance if arm.question == "test" else 1.0 - chance
        measured = {**one.noted, "yes": 0.98 * yes, "no": 0.98 * (1.0 - yes)}
        return Trial(key=one.key, seed=one.seed, request=None, completion=None, measurements=measured)
    test = uniform(f"{one.seed} said") < chance
    said = "Yes" if test == (arm.question == "test") else "No"
    if arm.question == "probability":
        said = str(round(100.0 * chance))
    finished = uniform(f"{one.seed} read") >= planted.unread
    said = planted.says if planted.says is not None else said
    return answered(one, completion(one.request, said, finished=finished))
