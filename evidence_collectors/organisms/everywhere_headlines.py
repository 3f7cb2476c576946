"""Which observations are printed of each instrument's run, and when does one say that something was found? Data, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evidence_collectors.organisms.everywhere_plan import (
    CIRCUIT,
    DIRECTION,
    FEATURES,
    INTERVENTION,
    PROBE,
    STABILITY,
)

Test = Literal["above zero", "away from zero", "above its null"]


@dataclass(frozen=True)
class Headline:
    """An observation that is printed. With a ``test`` it says that something was found if its interval lies there."""

    id: str
    test: Test | None = None


HEADLINES: Mapping[str, tuple[Headline, ...]] = {
    PROBE: (
        Headline("test.auroc"),
        Headline("test.margin", "above zero"),
        Headline("test.words_auroc"),
        Headline("minus_1.behaviour_shift_evaluation", "away from zero"),
    ),
    DIRECTION: (
        Headline("test.direction_auroc"),
        Headline("test.direction_margin", "above zero"),
        Headline("transfer.direction_margin"),
        Headline("test.bypass_drop", "above its null"),
        Headline("selection.qualified"),
    ),
    INTERVENTION: (
        Headline("baseline.rate_positive"),
        Headline("baseline.rate_negative"),
        Headline("ablate.change_positive", "away from zero"),
        Headline("ablate.capability"),
    ),
    FEATURES: (
        Headline("health.fvu"),
        Headline("health.ce_score"),
        Headline("set.auroc_margin", "above zero"),
        Headline("ablation.fall_margin", "above zero"),
    ),
    CIRCUIT: (
        Headline("scores.replacement"),
        Headline("scores.replacement_margin", "above zero"),
        Headline("patching.faithfulness_margin", "above zero"),
        Headline("interventions.rank_correlation"),
    ),
    STABILITY: (
        Headline("clean.auroc_margin", "above zero"),
        Headline("own-1.projection_retention"),
        Headline("benign.projection_retention"),
        Headline("own-1.behaviour_change", "away from zero"),
        Headline(
            "own-1.core_survival"
        ),  # where a circuit was traced before, and keeps features where the direction is read
    ),
}
