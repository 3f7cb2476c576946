"""What did each answer do once the reasoning behind it was changed: follow the mistake, stay, or go elsewhere?

A *pair* is a trial that hands a reasoning back and the trial the reasoning is from, of the same item and repeat. It is
unusable where either answer is missing, cut off, or names no single option, where the reasoning is not in a closed block of
its own, or has no step. A usable pair with a mistake is *eligible* where the unperturbed answer was not the mistake's option.

Nothing here trusts a trial's ``measurements``: options are read from the request, the mistake's option from the promised
key, and each request that hands a reasoning back is made again from the recorded one and compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dossier.model import Trial
from evidence_collectors.cot_faithfulness.perturbation.counts import KINDS, PAIRED, Reading, compared_arms, joined
from evidence_collectors.cot_faithfulness.perturbation.item import row_of
from evidence_collectors.cot_faithfulness.perturbation.parameters import PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import EARLY, REASONED
from evidence_collectors.cot_faithfulness.trials import by_item

__all__ = ["KINDS", "Reading", "compared_arms", "joined", "read"]


def read(trials: Sequence[Trial], params: PerturbationParameters, root: str) -> Reading:
    """Return what the trials did, items in the order of their ids, whatever the order of the trials.

    Raises:
        IntegrityError: a trial is given twice, belongs to no promised arm, or asks something the protocol does not ask.
    """
    of_item = by_item(trials)  # arms are checked item by item
    names = tuple(sorted(of_item))
    rows = [row_of(name, of_item[name], params, root) for name in names]
    return Reading(
        items=names,
        paired=np.array([row.paired for row in rows]).reshape(len(rows), len(PAIRED)),
        compared={
            arm: np.array([row.compared[arm] for row in rows]).reshape(len(rows), 2) for arm in compared_arms(params)
        },
        accuracy={
            arm: np.array([row.accuracy[arm] for row in rows]).reshape(len(rows), 2) for arm in (REASONED, f"{EARLY}.0")
        },
        trials=np.array([row.trials for row in rows]).reshape(len(rows), 2),
        not_reworded=np.array([row.not_reworded for row in rows], dtype=np.float64),
        kinds=np.array([[row.kinds[kind] for kind in KINDS] for row in rows], dtype=np.float64).reshape(
            len(rows), len(KINDS)
        ),
    )
