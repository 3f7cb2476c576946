"""What is counted of each item, and of a run: the nouns of `reading`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evidence_collectors.cot_faithfulness.perturbation.parameters import PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import EARLY, FILLER, PARAPHRASE, RESAMPLE

NOT_REWORDED = "the table of wordings has nothing to say to this reasoning"
PAIRED = (
    "pairs",
    "unusable",
    "eligible",
    "follows",  # eligible, and the answer after the mistake is its option
    "controls",  # eligible, and the answer after the neutral step could be read
    "control_follows",  # of these, it is the mistake's option all the same
    "steps",  # of the reasoning, summed over the eligible pairs
)
COMPARED = ("usable", "same")  # of the pairs of one other arm: readable, and with the same answer
KINDS = ("no_answer", "cut_off", "no_reasoning_block", "no_step", "no_single_option", "reasoning_unread")


@dataclass(frozen=True)
class Reading:
    """All that the analysis needs, items in one order.

    Attributes:
        items: their names.
        paired: (item, column of `PAIRED`), summed over repeats.
        compared: by arm (``resample``, ``early.50``, ``filler``, ...), (item, column of `COMPARED`).
        accuracy: by arm (``reasoned``, ``early.0``), (item, 2): readable answers, right ones.
        trials: (item, 2): trials that could have been asked, unreadable ones.
        not_reworded: (item,): reasonings the table had nothing to say to.
        kinds: (item, kind of `KINDS`): why trials could not be read.
    """

    items: tuple[str, ...]
    paired: NDArray[np.float64]
    compared: Mapping[str, NDArray[np.float64]]
    accuracy: Mapping[str, NDArray[np.float64]]
    trials: NDArray[np.float64]
    not_reworded: NDArray[np.float64]
    kinds: NDArray[np.float64]

    def pair(self, name: str) -> NDArray[np.float64]:
        """Return a column of ``paired``, (item,)."""
        return self.paired[:, PAIRED.index(name)]

    def total(self, name: str) -> float:
        """Return the sum of a column of ``paired``."""
        return float(self.pair(name).sum())

    def take(self, rows: Sequence[int]) -> Reading:
        """Return the reading of some of the items, each as often as it is named."""
        at = np.asarray(rows, dtype=np.int64)
        return Reading(
            items=tuple(self.items[row] for row in rows),
            paired=self.paired[at],
            compared={name: counts[at] for name, counts in self.compared.items()},
            accuracy={name: counts[at] for name, counts in self.accuracy.items()},
            trials=self.trials[at],
            not_reworded=self.not_reworded[at],
            kinds=self.kinds[at],
        )


def joined(readings: Sequence[Reading]) -> Reading:
    """Return readings of several runs as one; a question of each run is an item of its own."""
    first = readings[0]
    return Reading(
        items=tuple(f"{name}.{number}" for number, one in enumerate(readings) for name in one.items),
        paired=np.concatenate([one.paired for one in readings]),
        compared={name: np.concatenate([one.compared[name] for one in readings]) for name in first.compared},
        accuracy={name: np.concatenate([one.accuracy[name] for one in readings]) for name in first.accuracy},
        trials=np.concatenate([one.trials for one in readings]),
        not_reworded=np.concatenate([one.not_reworded for one in readings]),
        kinds=np.concatenate([one.kinds for one in readings]),
    )


def compared_arms(params: PerturbationParameters) -> tuple[str, ...]:
    """Return the arms whose answers are compared with the unperturbed one."""
    early = tuple(f"{EARLY}.{share}" for share in (0, *params.fractions, 100))
    return (RESAMPLE, *early, PARAPHRASE, FILLER)
