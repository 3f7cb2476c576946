"""Which features changed between two versions of the model, on the same texts?

The features that changed most where features are chosen are read again on the texts that are reported on, in both versions;
a feature counts as changed if its paired differences are not symmetric about 0, corrected for the family. The null is the same
test on the subject against itself: its items are split in halves within each label, and one half is taken for the other
version. After Lindsey et al. 2024 (crosscoders, model diffing); the correction is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dossier.model import Null, Observation
from evidence_collectors.interpretability.sae_features import estimates as estimates
from evidence_collectors.interpretability.sae_features.estimates import Floats, Quantity
from evidence_collectors.interpretability.sae_features.parameters import SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.scores import Reasons
from evidence_collectors.interpretability.sae_features.trials import LABELS, Table, Trials
from evidence_collectors.interpretability.sae_features.writing import CLUSTERED, Facts, write

NO_DEVIATION = "where features are chosen the difference is the same on every item: there is no deviation to measure in"
REPORTED = "items that are reported on, read in both versions"


def quantities(params: SaeFeaturesParameters) -> tuple[str, ...]:
    """Return the ids of these observations, in order; none without a comparison."""
    if not params.compare:
        return ()
    return ("diff.changed", *(f"change-{place + 1}.shift" for place in range(params.changes)))


def observations(trials: Trials, params: SaeFeaturesParameters, unusable: Reasons, seed: str) -> list[Observation]:
    """Return these observations, in any order."""
    if not params.compare:
        return []
    read, before = trials.tables["read"], trials.tables["baseline"]
    reasons = (*unusable, *(problem for problem in (read.problem, before.problem) if problem))
    if not reasons and len(read.rows) < params.minimum_items:
        reasons = (f"only {len(read.rows)} items; {params.minimum_items} are needed",)
    if not reasons and len(read.rows) != len(before.rows):
        reasons = ("the two versions were not read on the same items",)
    found: estimates.Changes | None = None
    differences: Floats = np.zeros((0, 0))
    if not reasons:
        now, then = read.matrix("changed"), before.matrix("changed")
        assert now is not None
        assert then is not None
        differences = now - then
        found = estimates.changes(differences, read.clusters(), seed=seed, permutations=params.permutations)
    written = [_changed(read, found, params, reasons, seed)]
    for place in range(params.changes):
        written.append(_shift(place, trials.changed[place], read, differences, found, params, reasons))
    return written


def _changed(
    read: Table, found: estimates.Changes | None, params: SaeFeaturesParameters, reasons: Reasons, seed: str
) -> Observation:
    quantity, facts, null, alpha = Quantity(None, reasons=reasons), Facts(), None, 1.0 - params.interval_level
    if found is not None:
        count = int((found.p_values <= alpha).sum())
        quantity = Quantity(float(count))
        halves = _halves(read, seed)
        same = estimates.changes(
            halves, [str(row) for row in range(len(halves))], seed=seed, permutations=params.permutations
        )
        flagged = int((same.p_values <= alpha).sum())
        null = Null(what=f"the subject against itself on {len(halves)} pairs of split halves", estimate=float(flagged))
        facts = {"followed_up": int(found.p_values.size), "found_by_q_value": int((found.q_values <= alpha).sum())}
    return write(
        "diff.changed",
        "Number of features, among those that changed most where features are chosen, whose value at the position is not "
        "the same in the two versions.",
        "count",
        quantity,
        params,
        n=(len(read.rows), REPORTED),
        method=f"sign flips of clusters, max-T over the family at {alpha:.2g}; q-values after Benjamini and Hochberg",
        interval="none",
        null=null,
        facts=facts,
        limits=(
            "A count without an interval.",
            "A feature counts also where only the shape of its differences is lopsided; by how much its mean moved is in its "
            "shift.",
            "Features are the subject's dictionary's: what the other version computes elsewhere is not seen.",
        ),
    )


def _shift(
    place: int,
    changed: Mapping[str, Any] | None,
    read: Table,
    differences: Floats,
    found: estimates.Changes | None,
    params: SaeFeaturesParameters,
    reasons: Reasons,
) -> Observation:
    if changed is None:
        reasons = (*reasons, "fewer features than were to be followed up")
    quantity, facts = Quantity(None, reasons=reasons), Facts()
    if changed is not None:
        facts = {"feature": changed["feature"], "choosing_change": changed["change"]}
    if found is not None and changed is not None:
        column, scale = differences[:, place], float(changed["deviation"])
        if not column.any():
            quantity = Quantity(0.0)  # on no item anything: nothing says how rare a change may be
        elif scale <= 1e-9 * abs(float(changed["change"])):
            quantity = Quantity(None, reasons=(NO_DEVIATION,))
        else:
            quantity = estimates.mean(column / scale, read.clusters(), level=params.interval_level)
        facts |= {
            "p_value_of_family": float(found.p_values[place]),
            "q_value": float(found.q_values[place]),
            "mean_difference": float(column.mean()),
        }
    return write(
        f"change-{place + 1}.shift",
        "Mean of this feature in the subject less that in the earlier version, on the same items, in standard deviations of "
        "this difference where features are chosen.",
        "ratio",
        quantity,
        params,
        n=(len(read.rows), REPORTED),
        method="mean paired difference / its deviation where chosen",
        interval=CLUSTERED,
        null=Null(what="no change", estimate=0.0) if quantity.estimate is not None else None,
        facts=facts,
    )


def _halves(read: Table, seed: str) -> Floats:
    """Return differences of the subject with itself: of each two items of a label one, drawn, stands for the other version."""
    parts = []
    for label in LABELS:
        own = read.where(label=label).matrix("changed")
        if own is not None and len(own) > 1:
            pairs = len(own) // 2
            parts.append(own[0 : 2 * pairs : 2] - own[1 : 2 * pairs : 2])
    both = np.vstack(parts)
    drawn = np.random.PCG64([int(seed, 16), 1]).random_raw(len(both)) >> np.uint64(63)
    return both * (1.0 - 2.0 * drawn.astype(np.float64))[:, None]
